"""Human preferences about helpful and harmless answers."""
