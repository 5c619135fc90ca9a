// Answers questions about prices with the npm package's own calculation, for
// the tests: JSON {provider, model, at, usage} on each line of stdin, a line of
// {cost} in dollars for each; without a cost where the package has no price for
// text in and out. The usage is counted as package model counts it.
//
//   node oracle.mjs names     prints names of models instead: {provider, models}
import { createInterface } from 'node:readline'
import { calcPrice, waitForUpdate } from './modules.mjs'

const outputs = ['output_audio', 'output_image', 'output_video', 'output_reasoning', 'output_citation']
const halfHours = Array.from({ length: 48 }, (_, i) => i * 30 * 60 * 1000)

// answer takes the dearest of the day and of the kinds of output.
function answer({ provider, model, at, usage }) {
  const day = new Date(at.slice(0, 10) + 'T00:00:00Z').getTime()
  const found = calcPrice({}, model, { providerId: provider, timestamp: new Date(at) })
  if (!found || found.provider.id !== provider) return {}
  const byHour = JSON.stringify(found.model.prices).includes('time_of_date')
  const times = byHour ? halfHours.map((after) => new Date(day + after)) : [new Date(at)]
  let cost = 0
  for (const timestamp of times) {
    const { model_price: price } = calcPrice({}, model, { providerId: provider, timestamp })
    const free = found.model.id.endsWith(':free') && Object.keys(price).length === 0
    if (!free && (price.input_mtok === undefined || price.output_mtok === undefined)) return {}
    const kinds = outputs.filter((kind) => price[kind + '_mtok'] !== undefined)
    for (const kind of [undefined, ...kinds]) {
      cost = Math.max(cost, calcPrice(counted(usage, kind), model, { providerId: provider, timestamp }).total_price)
    }
  }
  return { cost }
}

function counted(u, kind) {
  const writes = (u.cache_write ?? 0) + (u.cache_write_1h ?? 0)
  return {
    input_tokens: (u.input ?? 0) + (u.cache_read ?? 0) + writes, cache_read_tokens: u.cache_read ?? 0,
    cache_write_tokens: writes, cache_write_1h_tokens: u.cache_write_1h ?? 0, output_tokens: u.output ?? 0,
    ...(kind && { [kind + '_tokens']: u.output ?? 0 }),
  }
}

// names are those of the rules, as they are and with what a rule lets follow.
function names(rule) {
  const [[kind, value]] = Object.entries(rule)
  switch (kind) {
    case 'or':
    case 'and':
      return value.flatMap(names)
    case 'starts_with':
      return [value, value + '-20260131', value + '-latest']
    case 'ends_with':
      return [value, 'a/' + value]
    case 'contains':
      return [value, 'a/' + value + ':b']
    case 'regex':
      return [value.replace(/[\^$]/g, '').replace(/\\d\{8\}/g, '20260131').replace(/\\d\{4\}-\\d\{2\}-\\d\{2\}/g, '2026-01-31').replace(/\\(.)/g, '$1')]
  }
  return [value]
}

if (process.argv[2] === 'names') {
  for (const { id, models } of await waitForUpdate()) {
    const all = models.flatMap((model) => [model.id, ...names(model.match)])
    console.log(JSON.stringify({ provider: id, models: [...new Set(all)] }))
  }
} else {
  for await (const line of createInterface({ input: process.stdin })) console.log(JSON.stringify(answer(JSON.parse(line))))
}
