obj.metadata.annotations = obj.metadata.annotations or {}
obj.metadata.annotations["penstock.dev/resume"] = "ordered in Argo CD"
return obj
