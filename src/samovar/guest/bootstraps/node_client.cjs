// A client of the Runtime API that waits for its answers, on a connection that it was born with.
//
// The bridge gives this process a connection as descriptor 3. Requests and answers pass over it in
// blocking system calls: neither node:http nor node:net is loaded, which takes a fifth of a cold
// start, and no event loop stands between an event and its handler. While there is no event, the
// process stands still with all that it has begun, as it does on AWS, where it is frozen.
//
// Where that would be in somebody's way (`standsStill` says when), or there is no such connection,
// calls go over TCP and return promises: see node_connections.cjs.
'use strict';

const fs = require('node:fs');

const FD = 3;
const HEAD_BYTES = 64 * 1024;
const HEAD_END = '\r\n\r\n';
const { readSync, writeSync } = fs;
const { allocUnsafe, concat, from } = Buffer;
const API = '/2018-06-01/runtime';

const incoming = allocUnsafe(HEAD_BYTES);

function isConnected() {
  try {
    return fs.fstatSync(FD).isSocket();
  } catch {
    return false;
  }
}

// Where many requests run at once, none of them may hold up the others.
const CONCURRENCY = Number(process.env.AWS_LAMBDA_MAX_CONCURRENCY) || 1;
const connected = CONCURRENCY === 1 && isConnected();

// A handler of signals, or a debugger, wants to be served while there is no event.
function standsStill() {
  return !(process.listenerCount('SIGTERM') || process.listenerCount('SIGINT') || /--inspect/.test(process.env.NODE_OPTIONS));
}

function writeAll(bytes) {
  for (let at = 0; at < bytes.length; ) at += writeSync(FD, bytes, at);
}

function read(bytes, at) {
  const count = readSync(FD, bytes, at, bytes.length - at);
  if (!count) throw new Error('The Runtime API has closed the connection');
  return at + count;
}

function readAnswer() {
  let held = 0;
  let end;
  do {
    held = read(incoming, held);
    end = incoming.latin1Slice(0, held).indexOf(HEAD_END);
  } while (end < 0);
  const answer = parseHead(incoming.latin1Slice(0, end));
  const body = allocUnsafe(Number(answer.headers['content-length']));
  let at = incoming.copy(body, 0, end + HEAD_END.length, held);
  while (at < body.length) at = read(body, at);
  return { ...answer, body };
}

function parseHead(text) {
  const lines = text.split('\r\n');
  const headers = {};
  for (let i = 1; i < lines.length; i++) {
    const colon = lines[i].indexOf(':');
    headers[lines[i].slice(0, colon).toLowerCase()] = lines[i].slice(colon + 1).trim();
  }
  return { status: Number(lines[0].slice(9, 12)), headers };
}

function headOf(method, where, headers) {
  let head = `${method} ${API}${where} HTTP/1.1\r\nHost: ${process.env.AWS_LAMBDA_RUNTIME_API}\r\n`;
  for (const name in headers) head += `${name}: ${headers[name]}\r\n`;
  return `${head}\r\n`;
}

// Return, or resolve with, {status, headers, body}. `text` is the body of the request.
function call(method, where, headers, text = '') {
  if (!connected) return require('./node_connections.cjs').call(method, where, headers, text);
  const body = from(text);
  writeAll(concat([from(headOf(method, where, { 'Content-Length': body.length, ...headers }), 'latin1'), body]));
  return readAnswer();
}

let hasCompany = false; // extensions within the process, which have to go on, too: the bridge knows

// Resolve with, or return, the answer that has the next event.
function next() {
  const where = '/invocation/next';
  if (connected && !hasCompany && standsStill()) {
    const answer = call('GET', where, { 'Samovar-Stands-Still': 'true' });
    if (answer.status !== 409) return answer;
    hasCompany = true;
  }
  return require('./node_connections.cjs').call('GET', where);
}

module.exports = { call, next, headOf, parseHead, CONCURRENCY };
