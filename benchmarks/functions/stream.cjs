// Says something at once and something later; with `event.bytes`, so many zeros besides.
exports.handler = awslambda.streamifyResponse(async (event, stream) => {
  stream.write("first");
  if (event.bytes) {
    const part = Buffer.alloc(64 * 1024);
    for (let left = event.bytes; left > 0; left -= part.length) {
      if (!stream.write(part)) await new Promise((resolve) => stream.once("drain", resolve));
    }
  } else {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  stream.end("last");
});
