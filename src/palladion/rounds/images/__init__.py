"""Images of fictional traffic signs, rendered by pure functions of (stream, index)."""
