from fvcore.common.file_io import PathManager  # noqa: F401  local paths, and http(s) addresses through a cache
