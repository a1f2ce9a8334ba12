// Command messages writes what edge-scheduler needs to know to read objects in protobuf: a table of the fields of their messages, by the struct tags of
// k8s.io/api (`messages`), and samples with every field set, in protobuf and JSON as Kubernetes' own serializers write them (`messages FOLDER`).
//
// A line of the table is a message: its name, then NUMBER:NAME:TYPE of each field by number. NAME is JSON's, "-" where the fields of the message stand in
// the one around it. TYPE is bool, int, string, bytes, time, micro_time, quantity, int_or_string, raw (JSON, or a whole object within its envelope) or a
// message; before it "?" says that a value of zero differs from none, "[]" several, "{}" a map from strings. Left out are fields of types that are lists by
// themselves, all of them in answers to reviews.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	apps "k8s.io/api/apps/v1"
	authentication "k8s.io/api/authentication/v1"
	authorization "k8s.io/api/authorization/v1"
	batch "k8s.io/api/batch/v1"
	v1 "k8s.io/api/core/v1"
	events "k8s.io/api/events/v1"
	policy "k8s.io/api/policy/v1"
	rbac "k8s.io/api/rbac/v1"
	scheduling "k8s.io/api/scheduling/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// What our programs watch, and what clients send to the demo's API server.
var roots = []any{
	meta.DeleteOptions{}, meta.Status{}, meta.WatchEvent{},
	v1.Binding{}, v1.ConfigMap{}, v1.Namespace{}, v1.Node{}, v1.NodeList{}, v1.Pod{}, v1.PodList{}, v1.Secret{}, v1.Service{}, v1.ServiceAccount{},
	apps.Deployment{}, authentication.SelfSubjectReview{}, authentication.TokenRequest{}, authorization.SelfSubjectAccessReview{},
	authorization.SelfSubjectRulesReview{}, batch.CronJob{}, batch.Job{}, events.Event{}, policy.Eviction{}, policy.PodDisruptionBudget{},
	rbac.ClusterRole{}, rbac.ClusterRoleBinding{}, rbac.Role{}, rbac.RoleBinding{}, scheduling.PriorityClass{},
}

// Of two kinds of one name, one is told apart by its group.
var names = map[reflect.Type]string{reflect.TypeFor[events.Event](): "events.k8s.io/v1.Event"}

var scalars = map[reflect.Type]string{
	reflect.TypeFor[meta.Time]():            "time",
	reflect.TypeFor[meta.MicroTime]():       "micro_time",
	reflect.TypeFor[resource.Quantity]():    "quantity",
	reflect.TypeFor[intstr.IntOrString]():   "int_or_string",
	reflect.TypeFor[runtime.RawExtension](): "raw",
	reflect.TypeFor[meta.FieldsV1]():        "raw",
	reflect.TypeFor[[]byte]():               "bytes",
}

func main() {
	if len(os.Args) == 1 {
		table()
		return
	}
	if err := samples(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "messages:", err)
		os.Exit(1)
	}
}

func table() {
	lines := map[string]string{}
	for _, root := range roots {
		describe(reflect.TypeOf(root), lines)
	}
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	for _, name := range slices.Sorted(maps.Keys(lines)) {
		fmt.Fprintln(out, name+lines[name])
	}
}

var described = map[string]reflect.Type{}

// describe adds the line of a message and those of all it consists of.
func describe(message reflect.Type, lines map[string]string) {
	name := message.Name()
	if other, given := names[message]; given {
		name = other
	}
	if known, taken := described[name]; taken {
		if known != message {
			panic("two messages of one name: " + known.String() + ", " + message.String())
		}
		return
	}
	described[name] = message
	lines[name] = ""
	fields := map[int]string{}
	for field := range fieldsOf(message) {
		json, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if json == "" {
			json = "-"
		}
		fields[number(field)] = json + ":" + typeOf(field.Type, lines)
	}
	for _, number := range slices.Sorted(maps.Keys(fields)) {
		lines[name] += fmt.Sprintf(" %d:%s", number, fields[number])
	}
}

// fieldsOf yields the fields that protobuf has.
func fieldsOf(message reflect.Type) iter.Seq[reflect.StructField] {
	return func(yield func(reflect.StructField) bool) {
		for i := range message.NumField() {
			field := message.Field(i)
			if field.Tag.Get("protobuf") != "" && !isList(field.Type) && !yield(field) {
				return
			}
		}
	}
}

// isList says whether a type is a message that JSON has as a list.
func isList(of reflect.Type) bool {
	for of.Kind() == reflect.Map || of.Kind() == reflect.Pointer {
		of = of.Elem()
	}
	return of.Kind() == reflect.Slice && of.Implements(reflect.TypeFor[interface{ String() string }]())
}

func number(field reflect.StructField) int {
	number, err := strconv.Atoi(strings.Split(field.Tag.Get("protobuf"), ",")[1])
	if err != nil {
		panic(err)
	}
	return number
}

func typeOf(of reflect.Type, lines map[string]string) string {
	if scalar, ok := scalars[of]; ok {
		return scalar
	}
	switch of.Kind() {
	case reflect.Pointer:
		return "?" + typeOf(of.Elem(), lines)
	case reflect.Slice:
		return "[]" + typeOf(of.Elem(), lines)
	case reflect.Map:
		return "{}" + typeOf(of.Elem(), lines)
	case reflect.Struct:
		describe(of, lines)
		return of.Name()
	case reflect.String:
		return "string"
	case reflect.Bool:
		return "bool"
	case reflect.Int32, reflect.Int64:
		return "int"
	}
	panic("no such field is known: " + of.String())
}

func samples(folder string) error {
	pod := &v1.Pod{TypeMeta: meta.TypeMeta{APIVersion: "v1", Kind: "Pod"}}
	node := &v1.Node{TypeMeta: meta.TypeMeta{APIVersion: "v1", Kind: "Node"}}
	event := &events.Event{TypeMeta: meta.TypeMeta{APIVersion: "events.k8s.io/v1", Kind: "Event"}}
	for name, object := range map[string]runtime.Object{"pod": pod, "node": node, "event": event} {
		new(filler).fill(reflect.ValueOf(object).Elem())
		text, err := json.Marshal(object)
		if err != nil {
			return err
		}
		file, err := os.Create(filepath.Join(folder, name+".pb"))
		if err != nil {
			return err
		}
		if err := protobuf.NewSerializer(nil, nil).Encode(object, file); err != nil {
			return err
		}
		if err := file.Close(); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(folder, name+".json"), append(text, '\n'), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// filler sets every field to something of its own.
type filler struct{ count int64 }

func (f *filler) fill(value reflect.Value) {
	f.count++
	switch of := value.Type(); {
	case of == reflect.TypeFor[meta.Time]():
		value.Set(reflect.ValueOf(meta.NewTime(time.Unix(1_700_000_000+f.count, 0))))
	case of == reflect.TypeFor[meta.MicroTime]():
		value.Set(reflect.ValueOf(meta.NewMicroTime(time.Unix(1_700_000_000, 1000*f.count))))
	case of == reflect.TypeFor[resource.Quantity]():
		value.Set(reflect.ValueOf(resource.MustParse(fmt.Sprintf("%dm", 1000*f.count+1))))
	case of == reflect.TypeFor[intstr.IntOrString]() && f.count%2 == 0:
		value.Set(reflect.ValueOf(intstr.FromInt32(int32(f.count))))
	case of == reflect.TypeFor[intstr.IntOrString]():
		value.Set(reflect.ValueOf(intstr.FromString(fmt.Sprintf("port-%d", f.count))))
	case of == reflect.TypeFor[meta.FieldsV1]():
		value.FieldByName("Raw").SetBytes([]byte(`{"f:metadata":{}}`))
	case of == reflect.TypeFor[[]byte]():
		value.SetBytes([]byte{0xff, byte(f.count)})
	case of.Kind() == reflect.Pointer:
		value.Set(reflect.New(of.Elem()))
		f.fill(value.Elem())
	case of.Kind() == reflect.Slice:
		several := 2
		if of.Elem().Kind() == reflect.Struct && of.Elem().NumField() > 8 {
			several = 1 // what is large is not there twice
		}
		value.Set(reflect.MakeSlice(of, several, several))
		for i := range several {
			f.fill(value.Index(i))
		}
	case of.Kind() == reflect.Map:
		value.Set(reflect.MakeMap(of))
		for i := range 2 {
			key, element := reflect.New(of.Key()).Elem(), reflect.New(of.Elem()).Elem()
			key.SetString(fmt.Sprintf("key-%d", i))
			f.fill(element)
			value.SetMapIndex(key, element)
		}
	case of.Kind() == reflect.Struct:
		for field := range fieldsOf(of) {
			f.fill(value.FieldByIndex(field.Index))
		}
	case of.Kind() == reflect.String:
		value.SetString(fmt.Sprintf("\"%d\"\n\té\x01", f.count))
	case of.Kind() == reflect.Bool:
		value.SetBool(true)
	case of.Kind() == reflect.Int32, of.Kind() == reflect.Int64:
		value.SetInt(-f.count)
	default:
		panic("no such field is known: " + of.String())
	}
}
