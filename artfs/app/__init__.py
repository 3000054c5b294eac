"""The composition root: the only place that names implementations; the mount process and its control socket."""
