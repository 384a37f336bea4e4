"""From uploaded bytes to the arrays that SAM's two graphs take."""
