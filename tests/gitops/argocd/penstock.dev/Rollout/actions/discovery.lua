local status = obj.status or {}
local moves = status.stableRevision ~= nil and status.canaryRevision ~= nil and status.phase ~= "Aborted"
local paused = false
for _, d in ipairs(status.decisions or {}) do
  if d.what == "Paused" and d.order ~= nil then paused = true end
  if d.what == "Resumed" or d.what == "Promoted" or d.what == "Started" then paused = false end
end
return {
  ["promote"] = {disabled = not moves},
  ["promote-full"] = {disabled = not moves},
  ["abort"] = {disabled = not moves},
  ["pause"] = {disabled = not moves or paused},
  ["resume"] = {disabled = not moves or not paused},
  ["retry"] = {disabled = status.phase ~= "Aborted"},
}
