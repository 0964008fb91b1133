"""A worker without a model, which is started in no time: it gives signs of life, and answers whatever it is asked."""

import asyncio
import os
import sys
import threading
from multiprocessing.connection import Connection

from physalis.web.worker.worker import Told

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\nhere"


def live(parent: Connection) -> None:
    try:
        while True:
            parent.send(parent.recv())
    finally:
        os._exit(0)


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(ANSWER)
    await writer.drain()
    writer.close()


async def work(parent: Connection) -> None:
    _, address = parent.recv()
    server = await asyncio.start_unix_server(answer, path=address)
    parent.send(Told("", "", [], {}))
    threading.Thread(target=live, args=(parent,), daemon=True).start()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(work(Connection(int(sys.argv[1]))))
