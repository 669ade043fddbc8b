from fvcore.common.registry import Registry  # noqa: F401
