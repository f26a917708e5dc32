// Response streaming: what a handler of `awslambda.streamifyResponse` writes to.
// https://docs.aws.amazon.com/lambda/latest/dg/configuration-response-streaming.html
'use strict';

const { Writable } = require('node:stream');
const { open } = require('./node_connections.cjs');

const ERROR_TYPE = 'Lambda-Runtime-Function-Error-Type';
const ERROR_BODY = 'Lambda-Runtime-Function-Error-Body';
const MAX_CHARS = 128 * 1024; // each of message and trace, so that a trailer holds them in base64

class ResponseStream extends Writable {
  #request; // from the first byte, or the end, on
  #path;
  #contentType = 'application/octet-stream';
  #trailers; // of a failure
  #finished = false;
  #resolve;
  answered = new Promise((resolve) => (this.#resolve = resolve)); // by the Runtime API

  constructor(requestId, highWaterMark) {
    super({ highWaterMark, decodeStrings: true });
    this.#path = `/invocation/${requestId}/response`;
  }

  setContentType(type) {
    if (this.#request) {
      const error = new Error('Cannot set content-type, too late.');
      error.name = 'Runtime.InvalidStreamingOperation';
      throw error;
    }
    this.#contentType = String(type).replace(/[^\x20-\x7e]/g, '?');
  }

  write(chunk, encoding, callback) {
    if (typeof chunk !== 'string' && !(chunk instanceof Uint8Array)) chunk = JSON.stringify(chunk);
    return super.write(chunk, encoding, callback);
  }

  _write(chunk, encoding, callback) {
    this.#open().write(chunk, callback);
  }

  _writev(chunks, callback) {
    this.#open().write(Buffer.concat(chunks.map((one) => one.chunk)), callback);
  }

  _final(callback) {
    this.#finish();
    callback();
  }

  // End it with an error, given its document, after what has been written.
  fail(document) {
    if (this.writableEnded && !this.destroyed) return; // it has ended well before
    const errorMessage = document.errorMessage.slice(0, MAX_CHARS);
    let left = MAX_CHARS;
    const trace = document.trace.filter((line) => (left -= line.length) > 0);
    this.#trailers = {
      [ERROR_TYPE]: document.errorType.replace(/[^\x20-\x7e]/g, '?').slice(0, 512),
      [ERROR_BODY]: Buffer.from(JSON.stringify({ ...document, errorMessage, trace })).toString('base64'),
    };
    if (this.destroyed) this.#finish();
    else this.end();
  }

  #finish() {
    if (this.#finished) return;
    this.#finished = true;
    this.#open().end(this.#trailers);
  }

  #open() {
    if (!this.#request) {
      this.#request = open(this.#path, {
        'Content-Type': this.#contentType,
        'Lambda-Runtime-Function-Response-Mode': 'streaming',
        Trailer: `${ERROR_TYPE}, ${ERROR_BODY}`,
      });
      this.#resolve(this.#request.answer);
      if (!this.#trailers) this._onBeforeFirstWrite?.((bytes) => this.#request.write(Buffer.from(bytes), () => {}));
    }
    return this.#request;
  }
}

module.exports = { ResponseStream };
