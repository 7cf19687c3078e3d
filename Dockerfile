# tfalign with JAX for TPUs, and without TensorFlow; see docs/tpu.md.
#   make wheels && docker build -t tfalign .
FROM python:3.12-slim
COPY dist/*.whl /wheels/
RUN pip install --no-cache-dir --find-links=/wheels "tfalign[tpu,gcs,serve]"
ENV KERAS_BACKEND=jax PYTHONUNBUFFERED=1
# in this form the process is the container's first, and gets the SIGTERM of a preemption itself
ENTRYPOINT ["tfalign"]
