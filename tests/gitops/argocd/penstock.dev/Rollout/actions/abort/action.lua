obj.metadata.annotations = obj.metadata.annotations or {}
obj.metadata.annotations["penstock.dev/abort"] = "ordered in Argo CD"
return obj
