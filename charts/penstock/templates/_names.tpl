{{/* The objects have the same names as those of `penstock install`: the rights of the controller speak of them. */}}
{{- define "penstock.name" -}}penstock-controller{{- end }}

{{/* Labels of all objects. */}}
{{- define "penstock.labels" -}}
app.kubernetes.io/part-of: penstock
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* Labels of the controller's objects. */}}
{{- define "penstock.controllerLabels" -}}
app.kubernetes.io/name: {{ include "penstock.name" . }}
{{ include "penstock.labels" . }}
{{- end }}

{{/* Not empty: the page is served. Unless somebody says so, not where the controller has no rights beyond one namespace. */}}
{{- define "penstock.page" -}}
{{- $asked := .Values.page.enabled -}}
{{- if or (eq (toString $asked) "true") (and (kindIs "invalid" $asked) (not .Values.watchNamespace)) -}}true{{- end -}}
{{- end }}

{{/* An image, of its values and the version that goes with the chart. */}}
{{- define "penstock.image" -}}
{{- $image := .image -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ $image.tag | default .version }}
{{- end -}}
{{- end }}

{{/*
The rules of the first Role or ClusterRole with this name in a file of `penstock install`, comments included: each
right stands there with its reason, and in one place only.
*/}}
{{- define "penstock.rules" -}}
{{- $rules := list -}}
{{- $name := printf "\n  name: %s\n" .name -}}
{{- range splitList "\n---\n" (.files.Get .file) -}}
{{- if and (contains $name .) (contains "\nrules:\n" .) (not $rules) -}}
{{- $rules = list (index (splitList "\nrules:\n" .) 1) -}}
{{- end -}}
{{- end -}}
{{- if not $rules -}}{{- fail (printf "%s has no rules of %s" .file .name) -}}{{- end -}}
rules:
{{ first $rules | trimSuffix "\n" }}
{{- end }}
