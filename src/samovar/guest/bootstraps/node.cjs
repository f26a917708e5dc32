// The runtime of Node.js functions: loads a handler and runs it for one invocation after the other,
// or for AWS_LAMBDA_MAX_CONCURRENCY at once, as a client of the Runtime API.
//
// What a function sees follows AWS's Node.js runtime:
// https://docs.aws.amazon.com/lambda/latest/dg/lambda-nodejs.html
//
// CommonJS and Node's own modules only. Whatever a function may replace later (console, http) is
// taken beforehand.
'use strict';

const fs = require('node:fs');
const path = require('node:path');
const util = require('node:util');
const { pathToFileURL } = require('node:url');
const { call, next, CONCURRENCY } = require('./node_client.cjs');

const TASK_ROOT = process.env.LAMBDA_TASK_ROOT;
const EXIT_UNHANDLED_REJECTION = 128;
const EXIT_UNCAUGHT_EXCEPTION = 129;
const STREAMING = Symbol.for('aws.lambda.runtime.handler.streaming');
const HIGH_WATER_MARK = Symbol.for('aws.lambda.runtime.handler.streaming.highWaterMark');
const MAJOR = Number(process.versions.node.split('.')[0]);

const { exit } = process;
const stringify = JSON.stringify;
const parse = JSON.parse;

const MANY = CONCURRENCY > 1;
const storage = MANY ? new (require('node:async_hooks').AsyncLocalStorage)() : undefined;

// {requestId, stream}: of the invocation that is running, or was the last; where many are, of that
// from which we are called, if it can be told. `stream` is what it streams its response to.
let newest = {};
let initialised = false;
const current = () => (MANY ? (storage.getStore() ?? {}) : newest);

function post(where, text, errorType) {
  const headers = { 'Content-Type': 'application/json' };
  if (errorType) {
    headers['Lambda-Runtime-Function-Error-Type'] = errorType.replace(/[^\x20-\x7e]/g, '?').slice(0, 512);
  }
  return call('POST', where, headers, text);
}

function postError(where, error) {
  const document = describe(error);
  return post(where, stringify(document), document.errorType);
}

// ------------------------------------------------------------------ errors

function named(name) {
  const kind = class extends Error {};
  kind.prototype.name = `Runtime.${name}`;
  return kind;
}

const ImportModuleError = named('ImportModuleError');
const HandlerNotFound = named('HandlerNotFound');
const MalformedHandlerName = named('MalformedHandlerName');
const UserCodeSyntaxError = named('UserCodeSyntaxError');
const UnhandledPromiseRejection = named('UnhandledPromiseRejection');
const NodeJsExit = named('NodeJsExit');
const MarshalError = named('MarshalError');
const CallbackHandlerDeprecated = named('CallbackHandlerDeprecated');

// An error's document. The error is the function's: its properties may be anything, and may throw.
function describe(error) {
  try {
    if (util.types.isNativeError(error) || (error && error.name && error.message && error.stack)) {
      return {
        errorType: String(error.name),
        errorMessage: String(error.message),
        trace: String(error.stack).split('\n'),
      };
    }
    return { errorType: typeof error, errorMessage: String(error), trace: [] };
  } catch {
    return { errorType: 'handled', errorMessage: 'The error could not be read.', trace: [] };
  }
}

function errorText(error) {
  try {
    return stringify(error, (_, value) =>
      value instanceof Error
        ? {
            errorType: value.name,
            errorMessage: value.message,
            code: value.code,
            ...value,
            stack: String(value.stack).split('\n'),
          }
        : value,
    );
  } catch {
    return stringify(describe(error));
  }
}

// ------------------------------------------------------------------ the log

function writeLine(level, text) {
  const line = Buffer.from(`${new Date().toISOString()}\t${current().requestId}\t${level}\t${text}\n`);
  for (let at = 0; at < line.length; ) {
    try {
      at += fs.writeSync(1, line, at);
    } catch (error) {
      if (error.code !== 'EAGAIN') return; // the function has closed its own log
    }
  }
}

function patchConsole() {
  const levels = { log: 'INFO', info: 'INFO', warn: 'WARN', error: 'ERROR', debug: 'DEBUG', fatal: 'FATAL' };
  for (const [method, level] of Object.entries(levels)) {
    console[method] = (...args) => writeLine(level, util.format(...args));
  }
  console.trace = (...args) => {
    const here = { name: 'Trace', message: util.format(...args) };
    Error.captureStackTrace(here, console.trace);
    writeLine('TRACE', here.stack);
  };
}

// ------------------------------------------------------------------ the handler

function isModulePackage(folder) {
  for (let at = folder; !at.endsWith('/node_modules'); at = path.dirname(at)) {
    try {
      return parse(fs.readFileSync(path.join(at, 'package.json'), 'utf8')).type === 'module';
    } catch (error) {
      if (error.code === undefined) return false; // it is there, and not JSON
    }
    if (at === '/') return false;
  }
  return false;
}

// AWS's order: the bare name; .js as the nearest package.json says; .mjs; .cjs; then as `require`.
async function loadModule(folder, name) {
  const bare = path.resolve(TASK_ROOT, folder, name);
  const load = (file) => require(file);
  const importIt = (file) => import(pathToFileURL(file).href);
  const ways = [
    ['', load],
    ['.js', isModulePackage(path.dirname(bare)) ? importIt : load],
    ['.mjs', importIt],
    ['.cjs', load],
  ];
  for (const [extension, way] of ways) {
    if (fs.statSync(bare + extension, { throwIfNoEntry: false })) return way(bare + extension);
  }
  return require(require.resolve(name, { paths: [TASK_ROOT, path.resolve(TASK_ROOT, folder)] }));
}

async function loadHandler(full) {
  if (full.includes('..')) {
    throw new MalformedHandlerName(
      `'${full}' is not a valid handler name. Use absolute paths when specifying root directories in handler names.`,
    );
  }
  const base = path.basename(full);
  const dot = base.indexOf('.');
  if (dot < 0) throw new MalformedHandlerName('Bad handler');
  const folder = full.slice(0, full.indexOf(base));
  let found;
  try {
    found = await loadModule(folder, base.slice(0, dot));
  } catch (error) {
    if (error instanceof SyntaxError) throw new UserCodeSyntaxError(error);
    if (error && error.code === 'MODULE_NOT_FOUND') throw new ImportModuleError(error);
    throw error;
  }
  for (const name of base.slice(dot + 1).split('.')) found = found && found[name];
  if (!found) throw new HandlerNotFound(`${full} is undefined or not exported`);
  if (typeof found !== 'function') throw new HandlerNotFound(`${full} is not a function`);
  if (MAJOR >= 24 && found.length === 3 && !found[STREAMING]) {
    throw new CallbackHandlerDeprecated(
      'ERROR: AWS Lambda has removed support for callback-based function handlers starting with Node.js 24. ' +
        'You need to modify this function to use a supported handler signature to use Node.js 24 or later. ' +
        'For more information see https://docs.aws.amazon.com/lambda/latest/dg/nodejs-handler.html.',
    );
  }
  return found;
}

// What functions find in `awslambda`.
function offerStreaming() {
  if (['1', 'true'].includes(process.env.AWS_LAMBDA_NODEJS_NO_GLOBAL_AWSLAMBDA)) return;
  globalThis.awslambda = {
    streamifyResponse(handler, options) {
      handler[STREAMING] = 'response';
      if (typeof options?.highWaterMark === 'number') handler[HIGH_WATER_MARK] = options.highWaterMark;
      return handler;
    },
    HttpResponseStream: {
      // Status, headers and cookies go before the body: as JSON that ends in eight NULs.
      from(responseStream, prelude) {
        responseStream.setContentType('application/vnd.awslambda.http-integration-response');
        responseStream._onBeforeFirstWrite = (write) => {
          write(stringify(prelude));
          write(new Uint8Array(8));
        };
        return responseStream;
      },
    },
  };
}

// ------------------------------------------------------------------ one invocation

function contextOf(headers, settle) {
  const env = process.env;
  const deadline = Number(headers['lambda-runtime-deadline-ms']);
  const json = (name) => (headers[name] ? parse(headers[name]) : undefined);
  return {
    callbackWaitsForEmptyEventLoop: true,
    functionVersion: env.AWS_LAMBDA_FUNCTION_VERSION,
    functionName: env.AWS_LAMBDA_FUNCTION_NAME,
    memoryLimitInMB: env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE,
    logGroupName: env.AWS_LAMBDA_LOG_GROUP_NAME,
    logStreamName: env.AWS_LAMBDA_LOG_STREAM_NAME,
    clientContext: json('lambda-runtime-client-context'),
    identity: json('lambda-runtime-cognito-identity'),
    invokedFunctionArn: headers['lambda-runtime-invoked-function-arn'],
    awsRequestId: headers['lambda-runtime-aws-request-id'],
    ...(MANY && { xRayTraceId: headers['lambda-runtime-trace-id'] }), // process.env has but one
    tenantId: headers['lambda-runtime-aws-tenant-id'],
    getRemainingTimeInMillis: () => deadline - Date.now(),
    succeed: (result) => settle(null, result, true),
    fail: (error) => settle(error || 'handled', undefined, true),
    done: (error, result) => settle(error, result, true),
  };
}

// Resolves when the invocation is answered.
function run(handler, answer) {
  const id = current().requestId;
  const where = `/invocation/${id}`;
  return new Promise((resolve) => {
    let settled = false;
    const send = (error, result) => {
      onIdle(undefined);
      let text;
      if (error === null || error === undefined) {
        try {
          text = stringify(result === undefined ? null : result) ?? 'null';
        } catch (cause) {
          error = new MarshalError(`Unable to stringify response body: ${cause}`);
        }
      }
      if (text === undefined) writeLine('ERROR', `Invoke Error \t${errorText(error)}`);
      resolve(text === undefined ? postError(`${where}/error`, error) : post(`${where}/response`, text));
    };
    const settle = (error, result, atOnce) => {
      if (settled) return;
      settled = true;
      if (MANY || atOnce || error || !context.callbackWaitsForEmptyEventLoop) send(error, result);
      else onIdle(() => send(error, result));
    };
    // Nothing is left that could ever answer.
    onIdle(() => {
      if (settled) return;
      settled = true;
      if (handler.constructor.name === 'AsyncFunction') send(new NodeJsExit());
      else send(null, null);
    });
    const context = contextOf(answer.headers, settle);
    let returned;
    try {
      returned = handler(parse(answer.body), context, (error, result) => settle(error, result, false));
    } catch (error) {
      settle(error ?? 'handled', undefined, true);
      return;
    }
    if (returned && typeof returned.then === 'function') {
      returned.then(context.succeed, (error) => settle(error ?? 'handled', undefined, true));
    }
  });
}

// Resolves when the invocation is answered and the next one may come.
async function runStreaming(handler, answer) {
  const { ResponseStream } = require('./node_stream.cjs');
  const invocation = current();
  const stream = new ResponseStream(invocation.requestId, handler[HIGH_WATER_MARK]);
  invocation.stream = stream;
  const { succeed, fail, done, ...context } = contextOf(answer.headers);
  try {
    const idle = new Promise((_, reject) => onIdle(() => reject('Response stream is not finished.')));
    const returned = handler(parse(answer.body), stream, context);
    if (typeof returned?.then !== 'function') throw 'Streaming does not support non-async handlers.';
    const result = await Promise.race([returned, idle]);
    if (result !== undefined) writeLine('WARN', 'Streaming handlers ignore return values.');
    await Promise.race([stream.answered, idle]);
  } catch (error) {
    onIdle(undefined);
    writeLine('ERROR', `Invoke Error \t${errorText(error)}`);
    stream.fail(describe(error));
    await stream.answered;
  }
  invocation.stream = undefined;
  if (!MANY && context.callbackWaitsForEmptyEventLoop) await new Promise(onIdle);
  else onIdle(undefined);
}

let whenIdle;

// What is to happen when the event loop has nothing left to do.
function onIdle(then) {
  if (!MANY) whenIdle = then; // it never becomes so while others run
}

function becomeIdle() {
  const then = whenIdle;
  whenIdle = undefined;
  if (then) then();
}

// ------------------------------------------------------------------ from start to end

function failFor(exitStatus, wrap) {
  return (cause) => {
    const error = wrap(cause);
    writeLine('ERROR', `${exitStatus === EXIT_UNCAUGHT_EXCEPTION ? 'Uncaught Exception' : 'Unhandled Promise Rejection'} \t${errorText(error)}`);
    const end = () => exit(exitStatus);
    const { requestId, stream } = current();
    if (MANY && initialised && requestId === undefined) return end(); // it may be anybody's
    if (stream) {
      stream.fail(describe(error));
      stream.answered.then(end, end);
      return;
    }
    const where = requestId === undefined ? '/init/error' : `/invocation/${requestId}/error`;
    Promise.resolve(postError(where, error)).then(end, end);
  };
}

async function main() {
  patchConsole();
  process.on('beforeExit', becomeIdle);
  process.on('uncaughtException', failFor(EXIT_UNCAUGHT_EXCEPTION, (error) => error));
  process.on(
    'unhandledRejection',
    failFor(EXIT_UNHANDLED_REJECTION, (reason) => Object.assign(new UnhandledPromiseRejection(reason), { reason })),
  );
  offerStreaming();
  let handler;
  try {
    handler = await loadHandler(process.env._HANDLER);
  } catch (error) {
    writeLine('ERROR', `Uncaught Exception \t${errorText(error)}`);
    await postError('/init/error', error);
    exit(1);
  }
  initialised = true;
  const runOne = handler[STREAMING] ? runStreaming : run;
  if (MANY) await Promise.all(Array.from({ length: CONCURRENCY }, () => serveOneOfMany(handler, runOne)));
  for (;;) {
    const answer = await next();
    newest = { requestId: answer.headers['lambda-runtime-aws-request-id'] };
    const traceId = answer.headers['lambda-runtime-trace-id'];
    if (traceId) process.env._X_AMZN_TRACE_ID = traceId;
    else delete process.env._X_AMZN_TRACE_ID;
    await runOne(handler, answer);
    await new Promise(setImmediate); // what is ready to run does so in this invocation
  }
}

async function serveOneOfMany(handler, runOne) {
  for (;;) {
    const answer = await next();
    const requestId = answer.headers['lambda-runtime-aws-request-id'];
    await storage.run({ requestId, stream: undefined }, () => runOne(handler, answer));
  }
}

main().catch((error) => {
  writeLine('ERROR', `Uncaught Exception \t${errorText(error)}`);
  exit(EXIT_UNCAUGHT_EXCEPTION);
});
