obj.metadata.annotations = obj.metadata.annotations or {}
obj.metadata.annotations["penstock.dev/pause"] = "ordered in Argo CD"
return obj
