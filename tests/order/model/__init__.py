"""The world of the model's test: all real but the remote, the engine and the time."""
