"""The REST contract: routes parse, call and answer."""
