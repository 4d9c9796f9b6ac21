local hs = {status = "Progressing", message = "waits for the controller"}
if obj.status == nil or obj.status.observedGeneration ~= obj.metadata.generation then return hs end
local held = {}
for _, c in ipairs(obj.status.conditions or {}) do
  if c.status == "True" then held[c.type] = c.message end
end
if held.Stalled then return {status = "Degraded", message = held.Stalled} end
if held.Ready then return {status = "Healthy", message = held.Ready} end
if held.Paused then return {status = "Suspended", message = held.Paused} end
hs.message = held.Reconciling or hs.message
return hs
