// A client of the Runtime API on connections of its own, which never waits: for streams, and for
// whenever node_client.cjs must not.
//
// HTTP/1.1 on node:net; node:http takes longer to load, and this serves one server only, which is
// ours: every answer has a Content-Length. A connection keeps the process alive while an answer is
// due, and only then, so that a function's event loop is seen to become empty.
'use strict';

const net = require('node:net');
const { headOf, parseHead } = require('./node_client.cjs');

const [HOST, PORT] = process.env.AWS_LAMBDA_RUNTIME_API.split(':');
const HEAD_END = Buffer.from('\r\n\r\n');
const { connect } = net;
const { concat, from } = Buffer;

const idle = []; // connections

class Connection {
  constructor() {
    this.socket = connect({ host: HOST, port: Number(PORT), noDelay: true });
    this.socket.on('data', (chunk) => this.take(chunk));
    this.socket.on('error', (error) => this.end(error));
    this.socket.on('close', () => this.end(new Error('The Runtime API has closed the connection')));
    this.head = undefined; // what has come of it
    this.answer = undefined; // the answer whose body is coming
    this.bodyAt = 0;
    this.ended = false;
  }

  // Resolves with the answer to the request that is being written.
  expectAnswer() {
    this.socket.ref();
    return new Promise((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
    });
  }

  take(chunk) {
    if (!this.answer) {
      this.head = this.head ? concat([this.head, chunk]) : chunk;
      const end = this.head.indexOf(HEAD_END);
      if (end < 0) return;
      this.answer = parseHead(this.head.latin1Slice(0, end));
      chunk = this.head.subarray(end + HEAD_END.length);
      this.head = undefined;
      const length = Number(this.answer.headers['content-length']);
      this.answer.body = chunk.length === length ? chunk : Buffer.allocUnsafe(length);
      this.bodyAt = 0;
    }
    const { body } = this.answer;
    if (body !== chunk) chunk.copy(body, this.bodyAt);
    this.bodyAt += chunk.length;
    if (this.bodyAt < body.length) return;
    const { answer } = this;
    this.answer = undefined;
    this.socket.unref();
    if (!this.ended) idle.push(this);
    this.resolve(answer);
  }

  end(error) {
    if (this.ended) return;
    this.ended = true;
    const at = idle.indexOf(this);
    if (at >= 0) idle.splice(at, 1);
    if (this.reject) this.reject(error);
  }
}

// Resolves with {status, headers, body}. `text` is the body of the request.
function call(method, where, headers, text = '') {
  const connection = idle.pop() || new Connection();
  const answer = connection.expectAnswer();
  const body = from(text);
  const head = headOf(method, where, { 'Content-Length': body.length, ...headers });
  connection.socket.write(concat([from(head, 'latin1'), body]));
  return answer;
}

// A request whose body is written in chunks: {answer, write(bytes, then), end(trailers)}. Until the
// end it keeps the process alive only while there is something that the server has not taken yet.
function open(where, headers) {
  const connection = idle.pop() || new Connection();
  const answer = connection.expectAnswer();
  const { socket } = connection;
  socket.write(headOf('POST', where, { 'Transfer-Encoding': 'chunked', ...headers }), 'latin1');
  socket.unref();
  return {
    answer,
    write(bytes, then) {
      if (!bytes.length) return then();
      socket.cork();
      socket.write(`${bytes.length.toString(16)}\r\n`, 'latin1');
      socket.write(bytes);
      socket.write('\r\n', 'latin1', then);
      socket.uncork();
    },
    end(trailers) {
      socket.ref();
      let tail = '0\r\n';
      for (const name in trailers) tail += `${name}: ${trailers[name]}\r\n`;
      socket.write(`${tail}\r\n`, 'latin1');
    },
  };
}

module.exports = { call, open };
