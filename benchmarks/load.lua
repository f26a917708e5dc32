-- What wrk sends, and how it tells what it saw: one line of JSON, times in microseconds.
wrk.method = "POST"
wrk.body = '{"key1": "value1", "numbers": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9], "padding": "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}'
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/lambda/aws4_request, "
  .. "SignedHeaders=host, Signature=0"

function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '\n{"requests": %d, "duration_us": %d, "p50_us": %d, "p99_us": %d, "max_us": %d, '
      .. '"bad_status": %d, "broken": %d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), latency.max,
    e.status, e.connect + e.read + e.write + e.timeout))
end
