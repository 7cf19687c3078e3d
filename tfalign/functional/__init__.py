"""Pure tensor functions on ``keras.ops``: they keep no state, return per-token or per-pair values,
and run under XLA, under gradients and on every Keras backend."""
