"""The neural-memory ODE as an activation."""
