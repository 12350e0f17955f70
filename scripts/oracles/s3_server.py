"""An S3 store for tests/data/shards/s3.rs, which runs this script: the server of the package `moto` (5.2.5).

  python s3_server.py FOLDER [checked]

Makes the bucket `pictures` of the files below FOLDER, prints the address of the server, and ends when its input is closed.
With `checked` it refuses whoever it does not know, which is everybody. Ends with 3 without the package.
"""
import os
import pathlib
import sys

files = [path for path in sorted(pathlib.Path(sys.argv[1]).rglob("*")) if path.is_file()]
if sys.argv[2:] == ["checked"]:
    os.environ["INITIAL_NO_AUTH_ACTION_COUNT"] = str(1 + len(files))  # those below
os.environ.update(AWS_ACCESS_KEY_ID="setup", AWS_SECRET_ACCESS_KEY="setup", AWS_DEFAULT_REGION="us-east-1", NO_PROXY="127.0.0.1")

try:
    import boto3
    from moto.server import ThreadedMotoServer
except ImportError as missing:
    print(missing, file=sys.stderr)
    sys.exit(3)

server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
address = "http://%s:%d" % server.get_host_and_port()
store = boto3.client("s3", endpoint_url=address)
store.create_bucket(Bucket="pictures")
for path in files:
    store.put_object(Bucket="pictures", Key=str(path.relative_to(sys.argv[1])), Body=path.read_bytes())
print(address, flush=True)
sys.stdin.read()
os._exit(0)
