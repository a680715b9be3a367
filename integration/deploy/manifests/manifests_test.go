package manifests

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// decode reads the objects of a file as the API server does with strict field validation:
// an unknown or repeated field is an error, and so is a value of another type.
func decode(t *testing.T, file string) []runtime.Object {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, appsv1.AddToScheme, batchv1.AddToScheme, policyv1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	decoder := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var objects []runtime.Object
	for documents := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(raw))); ; {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return objects
		}
		if err != nil {
			t.Fatal(err)
		}
		object, _, err := decoder.Decode(document, nil, nil)
		if err != nil {
			t.Fatalf("document %d: %v", len(objects)+1, err)
		}
		objects = append(objects, object)
	}
}

// workload is what makes pods.
type workload struct {
	name     string
	selector *metav1.LabelSelector // nil for a Job, which makes its own
	template corev1.PodTemplateSpec
	claims   []corev1.PersistentVolumeClaim
}

// file is what stands in one file.
type file struct {
	workloads  []workload
	services   []*corev1.Service
	budgets    []*policyv1.PodDisruptionBudget
	configMaps map[string]bool
}

func sorted(t *testing.T, objects []runtime.Object) file {
	t.Helper()
	f := file{configMaps: map[string]bool{}}
	for _, object := range objects {
		switch o := object.(type) {
		case *corev1.ConfigMap:
			f.configMaps[o.Name] = true
		case *corev1.Service:
			f.services = append(f.services, o)
		case *policyv1.PodDisruptionBudget:
			f.budgets = append(f.budgets, o)
		case *appsv1.StatefulSet:
			f.workloads = append(f.workloads, workload{o.Name, o.Spec.Selector, o.Spec.Template, o.Spec.VolumeClaimTemplates})
			if !slices.ContainsFunc(f.services, func(s *corev1.Service) bool { return s.Name == o.Spec.ServiceName }) {
				t.Errorf("%s: there is no service %q", o.Name, o.Spec.ServiceName)
			}
		case *appsv1.Deployment:
			f.workloads = append(f.workloads, workload{o.Name, o.Spec.Selector, o.Spec.Template, nil})
		case *batchv1.Job:
			f.workloads = append(f.workloads, workload{o.Name, nil, o.Spec.Template, nil})
		default:
			t.Errorf("nobody looks at a %T here", object)
		}
		if named, ok := object.(metav1.Object); ok {
			for _, wrong := range validation.IsDNS1123Label(named.GetName()) {
				t.Errorf("%q: %s", named.GetName(), wrong)
			}
		}
	}
	return f
}

func TestManifests(t *testing.T) {
	files, err := filepath.Glob("../../../deploy/kubernetes/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("there are no manifests", err)
	}
	for _, name := range files {
		t.Run(filepath.Base(name), func(t *testing.T) {
			f := sorted(t, decode(t, name))
			if len(f.workloads) == 0 {
				t.Error("nothing here makes a pod")
			}
			for _, w := range f.workloads {
				w.check(t, f)
			}
			f.checkSelectors(t)
		})
	}
}

// checkSelectors looks whether what selects pods finds some, and the ports of services.
func (f *file) checkSelectors(t *testing.T) {
	t.Helper()
	for _, s := range f.services {
		w := f.selected(labels.SelectorFromSet(s.Spec.Selector))
		if w == nil {
			t.Errorf("service %s selects no pod", s.Name)
			continue
		}
		for _, p := range s.Spec.Ports {
			if !ports(w.template.Spec.Containers[0])[p.TargetPort.StrVal] {
				t.Errorf("service %s: %s has no port %q", s.Name, w.name, p.TargetPort.StrVal)
			}
		}
	}
	for _, b := range f.budgets {
		if selector, err := metav1.LabelSelectorAsSelector(b.Spec.Selector); err != nil || f.selected(selector) == nil {
			t.Errorf("the disruption budget %s selects no pod (%v)", b.Name, err)
		}
	}
}

func (f *file) selected(s labels.Selector) *workload {
	for i, w := range f.workloads {
		if s.Matches(labels.Set(w.template.Labels)) {
			return &f.workloads[i]
		}
	}
	return nil
}

func ports(c corev1.Container) map[string]bool {
	names := map[string]bool{}
	for _, p := range c.Ports {
		names[p.Name] = true
	}
	return names
}

func (w *workload) check(t *testing.T, f file) {
	t.Helper()
	if w.selector != nil {
		selector, err := metav1.LabelSelectorAsSelector(w.selector)
		if err != nil || !selector.Matches(labels.Set(w.template.Labels)) {
			t.Errorf("%s does not select its own pods (%v)", w.name, err)
		}
	}
	spec := w.template.Spec
	w.checkPod(t, spec)
	volumes := w.volumes(t, f)
	for _, c := range spec.Containers {
		w.checkContainer(t, c, volumes)
	}
}

func (w *workload) checkPod(t *testing.T, spec corev1.PodSpec) {
	t.Helper()
	s := spec.SecurityContext
	if s == nil || s.RunAsNonRoot == nil || !*s.RunAsNonRoot || s.RunAsUser == nil || *s.RunAsUser == 0 ||
		s.SeccompProfile == nil || s.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		t.Errorf("%s: its pods may run as root, or without a seccomp profile", w.name)
	}
	if spec.AutomountServiceAccountToken == nil || *spec.AutomountServiceAccountToken {
		t.Errorf("%s: its pods get a token for Kubernetes that they do not need", w.name)
	}
	if spec.EnableServiceLinks == nil || *spec.EnableServiceLinks {
		t.Errorf("%s: services add WAYBILL_ variables to the environment of its pods", w.name)
	}
	if spec.HostNetwork || spec.HostPID || spec.HostIPC {
		t.Errorf("%s: its pods share something with the host", w.name)
	}
}

// volumes are the names of a pod's, and whether what they refer to is there. Secrets are
// made by whoever deploys.
func (w *workload) volumes(t *testing.T, f file) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	for _, v := range w.template.Spec.Volumes {
		names[v.Name] = false
		if v.ConfigMap != nil && !f.configMaps[v.ConfigMap.Name] {
			t.Errorf("%s: there is no config map %q", w.name, v.ConfigMap.Name)
		}
	}
	for _, c := range w.claims {
		names[c.Name] = false
	}
	return names
}

func (w *workload) checkContainer(t *testing.T, c corev1.Container, volumes map[string]bool) {
	t.Helper()
	s := c.SecurityContext
	if s == nil || s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation || s.ReadOnlyRootFilesystem == nil ||
		!*s.ReadOnlyRootFilesystem || s.Capabilities == nil || !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) {
		t.Errorf("%s: its container may do more than it has to", w.name)
	}
	if c.Resources.Requests.Cpu().IsZero() || c.Resources.Requests.Memory().IsZero() || c.Resources.Limits.Memory().IsZero() {
		t.Errorf("%s: its container lacks a request or the limit of memory", w.name)
	}
	for _, m := range c.VolumeMounts {
		if _, ok := volumes[m.Name]; !ok {
			t.Errorf("%s: there is no volume %q to mount", w.name, m.Name)
		}
		volumes[m.Name] = true
	}
	for name, mounted := range volumes {
		if !mounted {
			t.Errorf("%s: the volume %q is not mounted", w.name, name)
		}
	}
	if w.selector == nil {
		return // a job ends by itself
	}
	roles := slices.Index(c.Args, "--roles") + 1
	runsAgents := roles == 0 || strings.Contains(c.Args[roles], "agents")
	if runsAgents && !slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.MountPath == "/tmp" }) {
		t.Errorf("%s: nothing can be written to its /tmp, where programs of exec run", w.name)
	}
	for name, probe := range map[string]*corev1.Probe{"startup": c.StartupProbe, "liveness": c.LivenessProbe, "readiness": c.ReadinessProbe} {
		paths := map[string]bool{"/healthz": name != "readiness", "/readyz": name == "readiness"}
		if probe == nil || probe.HTTPGet == nil || !paths[probe.HTTPGet.Path] || probe.HTTPGet.Port.Type != intstr.String || !ports(c)[probe.HTTPGet.Port.StrVal] {
			t.Errorf("%s: the %s probe asks for something else than %v of a port of the container", w.name, name, slices.Sorted(maps.Keys(paths)))
		}
	}
}
