package judge

import (
	"strings"
	"unicode"
)

// hollow says why an output holds nothing that could be judged; empty: it does.
// Such outputs never reach a model: a lone ":" or "Solution" is enough to make
// many a judge say yes (arXiv 2507.08794).
func hollow(output string, b brief) string {
	text := fold(output)
	switch {
	case text == "":
		return "the output is empty"
	case weight(text) == 0:
		return "the output holds no words"
	case onlyFiller(text):
		return "the output only says that something was done, or announces it"
	case strings.HasPrefix(strings.ToLower(text), "lorem ipsum"):
		return "the output is placeholder text"
	case repeats(text, b):
		return "the output only repeats the task"
	}
	return ""
}

// onlyFiller reports whether no word of text is about anything. Digits are.
func onlyFiller(text string) bool {
	for word := range strings.FieldsFuncSeq(strings.ToLower(text), func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.IsMark(r)
	}) {
		if !filler[word] {
			return false
		}
	}
	return true
}

// repeats reports whether text is the goal, the question or a criterion.
func repeats(text string, b brief) bool {
	same := func(other string) bool { return strings.EqualFold(text, fold(other)) }
	if same(b.Goal) || same(b.Question) {
		return true
	}
	for _, c := range b.Criteria {
		if same(c.Text) {
			return true
		}
	}
	return false
}

// filler are words that make "The task has been completed successfully!" and
// "Here is the final answer:" in the usual languages.
var filler = words(`
	a all already an and answer are as asked been below best by can complete completed completely completing completion correct correctly criteria criterion
	did do does done each end every everything final finally finish finished follows following fulfilled fully goal goals good great has have here
	i implemented in is it job let looks ll made me met my need needed now of ok okay our output passes passed perfect perfectly please problem process
	ready requested requirement requirements response result results s satisfied see solution solve solved step steps success successful successfully
	sure task tasks thank thanks that the thinking this thought to todo tbd us ve was we well were with work worked working works yes you your
	aufgabe fertig erledigt ergebnis lösung abgeschlossen erfolgreich alles ist die das hier antwort
	listo hecho terminado completado solución respuesta tarea todo está la
	fait terminé fini solution réponse tâche
	feito concluído pronto resposta
	fatto finito completato soluzione risposta
	готово сделано решение ответ выполнено
	完成 解 答案 解答 好的 已完成 完了 完了しました かいせつ 解説 答え 완료 정답 해결 해설 undefined null none nil n`)

func words(list string) map[string]bool {
	set := map[string]bool{}
	for word := range strings.FieldsSeq(list) {
		set[word] = true
	}
	return set
}
