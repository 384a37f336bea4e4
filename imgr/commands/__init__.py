"""What the commands say and ask for; what they do is imported when one is called, so that the others start fast."""
