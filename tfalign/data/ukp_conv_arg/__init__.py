"""Which of two arguments is more convincing?"""
