"""What was measured once, each a command of its own, kept so that it can be measured again."""
