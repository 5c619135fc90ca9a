package kvstate

import "reflect"

// deepCopy returns a copy of v that shares nothing with it that could be changed.
// What is unexported is copied as it is: here, times.
func deepCopy[T any](v *T) T {
	out := *v
	unshare(reflect.ValueOf(&out).Elem())
	return out
}

// unshare gives what v refers to memory of its own.
func unshare(v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for _, f := range v.Fields() {
			if f.CanSet() {
				unshare(f)
			}
		}
	case reflect.Pointer:
		if !v.IsNil() {
			one := reflect.New(v.Type().Elem())
			one.Elem().Set(v.Elem())
			unshare(one.Elem())
			v.Set(one)
		}
	case reflect.Interface:
		if !v.IsNil() {
			v.Set(unshared(v.Elem()))
		}
	case reflect.Slice:
		if !v.IsNil() {
			list := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
			reflect.Copy(list, v)
			for i := 0; i < list.Len() && v.Type().Elem().Kind() != reflect.Uint8; i++ {
				unshare(list.Index(i))
			}
			v.Set(list)
		}
	case reflect.Map:
		if !v.IsNil() {
			all := reflect.MakeMapWithSize(v.Type(), v.Len())
			for i := v.MapRange(); i.Next(); {
				all.SetMapIndex(i.Key(), unshared(i.Value()))
			}
			v.Set(all)
		}
	default: // a value
	}
}

// unshared returns a copy of what cannot be set.
func unshared(v reflect.Value) reflect.Value {
	one := reflect.New(v.Type()).Elem()
	one.Set(v)
	unshare(one)
	return one
}
