"""Nothing is imported before it is needed: a command that asks for no service is not slowed down by its library."""

import subprocess
import sys


def test_nothing_of_a_service_is_imported_before_it_is_used():
    program = (
        "import sys, pkgutil, importlib, artfs.storage as storage\n"
        "for module in pkgutil.iter_modules(storage.__path__):\n"
        "    if module.name != 'http_session':\n"
        "        importlib.import_module(f'artfs.storage.{module.name}')\n"
        "from artfs.storage.s3 import S3Objects; from artfs.storage.gcs import GcsObjects; from artfs.storage.http import HttpObjects\n"
        "S3Objects(), GcsObjects(), HttpObjects()\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & "
        "{'boto3', 'botocore', 's3transfer', 'obstore', 'google', 'requests', 'urllib3', 'http_session'}))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
