obj.metadata.annotations = obj.metadata.annotations or {}
obj.metadata.annotations["penstock.dev/promote"] = "ordered in Argo CD"
return obj
