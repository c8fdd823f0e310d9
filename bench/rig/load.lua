-- The requests that wrk sends: those of a plan in turn, each with the next line of a file of draws.
--
-- The plan is a file of lines, fields separated by tabs:
--   header NAME VALUE
--   draws FILE OFFSET COUNT START  COUNT lines from the byte OFFSET on, repeatedly; the first one is that after START
--   stem TEXT                      the beginning of @new
--   request METHOD PATH BODY AUTHORIZATION
--                                  @line is the next draw, @new a new text; AUTHORIZATION: the value of that header,
--                                  if it differs from the header of all requests

local headers, requests, draws = {}, {}, {}
local stem, drawn, made, asked = "", 0, 0, 0

local function fields(line)
   local found = {}
   for field in (line .. "\t"):gmatch("([^\t]*)\t") do found[#found + 1] = field end
   return found
end

local function read_draws(path, offset, count, start)
   local file = assert(io.open(path))
   drawn = start
   file:seek("set", offset)
   for number = 1, count do draws[number] = file:read("*l") end
   file:close()
end

local function numbers(a, b, c) return tonumber(a), tonumber(b), tonumber(c) end

local readers = {
   header = function(name, value) headers[name] = value end,
   draws = function(path, ...) read_draws(path, numbers(...)) end,
   stem = function(text) stem = text end,
   request = function(...) requests[#requests + 1] = { ... } end,
}

local function next_line()
   drawn = drawn % #draws + 1
   return draws[drawn]
end

local function next_new()
   made = made + 1
   return stem .. made
end

local function admitted(authorization)
   if authorization == "" then return headers end
   local own = {}
   for name, value in pairs(headers) do own[name] = value end
   own["Authorization"] = authorization
   return own
end

-- A request without a body is formatted once, and cut where the draw goes in.
local function prepared(method, path, body, authorization)
   local headers = admitted(authorization)
   if body ~= "" then
      return function()
         local new = next_new()
         local place = path:gsub("@line", next_line)
         return wrk.format(method, place, headers, (body:gsub("@new", new)))
      end
   end
   local whole = wrk.format(method, path, headers)
   local from, to = whole:find("@line", 1, true)
   if not from then return function() return whole end end
   local head, tail = whole:sub(1, from - 1), whole:sub(to + 1)
   return function() return head .. next_line() .. tail end
end

function init(args)
   for line in io.lines(args[1]) do
      local found = fields(line)
      readers[found[1]](unpack(found, 2))
   end
   for number, found in ipairs(requests) do requests[number] = prepared(unpack(found)) end
end

function request()
   asked = asked % #requests + 1
   return requests[asked]()
end

function done(summary, latency)
   local failed = summary.errors
   local format = '{"requests": %d, "us": %d, "p50_us": %d, "p99_us": %d, "statuses": %d, "sockets": %d, "timeouts": %d}'
   io.write("RESULT " .. format:format(summary.requests, summary.duration, latency:percentile(50),
      latency:percentile(99), failed.status, failed.connect + failed.read + failed.write, failed.timeout), "\n")
end
