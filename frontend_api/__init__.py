"""The adapter: the frontend's REST contract on one side, Triton's inference protocol on the other."""
