"""Where submissions run: one interface, and the back ends behind it."""
