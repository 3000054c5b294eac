"""The only importer of pyfuse3: decode a request, call the vfs, encode its answer."""
