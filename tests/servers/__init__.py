"""Real servers for tests and benchmarks, on loopback: S3, GCS, HTTP, PostgreSQL, and a proxy that makes faults.

Each is one file with one class, a context manager that is given a directory for its data and its log:

    with SeaweedFS(directory) as s3:
        bucket = s3.bucket(versioned=True)
        s3.client().put_object(Bucket=bucket, Key="a", Body=b"...")

``fixtures`` makes pytest fixtures of them, which start a server when a test first asks for it.
"""
