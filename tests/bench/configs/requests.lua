-- Requests for wrk: users with a key of their own in turn, and a line of numbers at the end.
local requests, n = {}, 0

function init(args)
    for user = 1, 64 do
        requests[user] = wrk.format("GET", nil, {["x-user"] = "user-" .. user})
    end
end

function request()
    n = n % 64 + 1
    return requests[n]
end

function done(summary, latency, more)
    local e = summary.errors
    io.write(string.format("counted %d %d %d %d %d %d %d\n", summary.requests, summary.duration,
        e.connect, e.read, e.write, e.status, e.timeout))
end
