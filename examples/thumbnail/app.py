"""Shrinks a PNG, with the standard library alone: work for the CPU, and a binary answer.

Event: {"png": base64, "width": 64}. Without a picture it paints one. Over HTTP the answer is the
picture itself; an event gets {"png": base64, "width", "height"}.
"""

import base64
import struct
import zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHANNELS = {2: 3, 6: 4}  # PNG's colour types: RGB, RGBA
MAX_PIXELS = 4_000_000


def handler(event, context):
    over_http = "requestContext" in event
    query = (event.get("queryStringParameters") or {}) if over_http else event
    picture = decode(base64.b64decode(event["png"])) if "png" in event else painted(256, 256)
    picture = shrink(picture, int(query.get("width", 64)))
    png = base64.b64encode(encode(picture)).decode()
    if over_http:
        headers = {"content-type": "image/png"}
        return {"statusCode": 200, "headers": headers, "body": png, "isBase64Encoded": True}
    width, height, _, _ = picture
    return {"png": png, "width": width, "height": height}


def painted(width, height):
    """A sunset: (width, height, channels, rows of bytes)."""
    row = [bytes((255 - y // 2, x // 2, 96)) for y in range(height) for x in range(width)]
    flat = b"".join(row)
    return width, height, 3, [flat[i : i + 3 * width] for i in range(0, len(flat), 3 * width)]


def shrink(picture, width):
    """Each pixel of the result is the mean of the pixels it stands for."""
    old_width, old_height, channels, rows = picture
    step = max(1, old_width // max(1, width))
    width, height = old_width // step, max(1, old_height // step)
    small = []
    for y in range(height):
        band = rows[y * step : (y + 1) * step]
        line = bytearray()
        for x in range(width):
            for c in range(channels):
                first, end = x * step * channels + c, (x + 1) * step * channels
                values = [value for row in band for value in row[first:end:channels]]
                line.append(sum(values) // len(values))
        small.append(bytes(line))
    return width, height, channels, small


def decode(png):
    """8-bit RGB or RGBA, not interlaced. See https://www.w3.org/TR/png/."""
    if not png.startswith(SIGNATURE):
        raise ValueError("not a PNG")
    header, data, at = b"", b"", len(SIGNATURE)
    while at < len(png):
        length, kind = struct.unpack_from("!I4s", png, at)
        body = png[at + 8 : at + 8 + length]
        header = body if kind == b"IHDR" else header
        data += body if kind == b"IDAT" else b""
        at += length + 12
    width, height, depth, colour, _, _, interlace = struct.unpack("!IIBBBBB", header)
    if depth != 8 or colour not in CHANNELS or interlace or width * height > MAX_PIXELS:
        raise ValueError("only 8-bit RGB or RGBA of up to 4 megapixels, not interlaced")
    channels = CHANNELS[colour]
    stride = width * channels
    raw = zlib.decompressobj().decompress(data, (stride + 1) * height)
    rows, above = [], bytes(stride)
    for y in range(height):
        line = raw[y * (stride + 1) : (y + 1) * (stride + 1)]
        above = unfilter(line[0], bytearray(line[1:]), above, channels)
        rows.append(bytes(above))
    return width, height, channels, rows


def unfilter(kind, line, above, channels):
    for i in range(len(line)):
        left = line[i - channels] if i >= channels else 0
        corner = above[i - channels] if i >= channels else 0
        guess = (0, left, above[i], (left + above[i]) // 2, paeth(left, above[i], corner))[kind]
        line[i] = (line[i] + guess) & 255
    return line


def paeth(left, above, corner):
    return min((left, above, corner), key=lambda value: abs(left + above - corner - value))


def encode(picture):
    width, height, channels, rows = picture
    colour = {3: 2, 4: 6}[channels]
    chunks = [
        (b"IHDR", struct.pack("!IIBBBBB", width, height, 8, colour, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows))),
        (b"IEND", b""),
    ]
    return SIGNATURE + b"".join(
        struct.pack("!I", len(body)) + kind + body + struct.pack("!I", zlib.crc32(kind + body))
        for kind, body in chunks
    )
