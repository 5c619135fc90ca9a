// Writes the table of prices from the npm package @pydantic/genai-prices:
//
//   node generate.mjs VERSION DATE [FOLDER]
//
// VERSION is the one that must be installed, DATE the day of its publication,
// FOLDER where the files go (left out: beside this script). Whatever the data
// has that the table can't say ends the generator with an error.
import { copyFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { here, home, version, waitForUpdate } from './modules.mjs'

const [wanted, date, folder = here] = process.argv.slice(2)
if (!/^\d{4}-\d{2}-\d{2}$/.test(date ?? '')) throw new Error('usage: node generate.mjs VERSION DATE [FOLDER]; the date like 2026-09-23')
if (version !== wanted) throw new Error(`version ${version} of @pydantic/genai-prices is installed, ${wanted} is wanted; name the installed one and the day of its publication`)

// What a text in and a text out can't meet: other kinds of input, and searches
// and the like that nobody asks for here.
const unused = new Set([
  'web_searches_kcount', 'storage_searches_kcount', 'input_audio_mtok', 'cache_audio_read_mtok', 'input_image_mtok', 'cache_image_read_mtok',
  'input_video_mtok', 'audio_hours', 'input_audio_hours', 'input_document_kpages', 'input_annotated_document_kpages', 'input_text_messages_kcount',
])
const outputs = ['output_mtok', 'output_audio_mtok', 'output_image_mtok', 'output_video_mtok', 'output_reasoning_mtok', 'output_citation_mtok']
const inputs = ['input_mtok', 'cache_read_mtok', 'cache_write_mtok', 'cache_write_1h_mtok']

// scaled is a decimal number times 10^digits as a whole number, rounded up.
// It works on the digits: 0.035 * 1e6 is not 35000 in floating point.
function scaled(number, digits) {
  const [, whole, fraction = '', exponent = '0'] = /^(\d+)(?:\.(\d+))?(?:e([+-]\d+))?$/.exec(String(number)) ?? fail(`${number} is no price`)
  const shift = digits + Number(exponent) - fraction.length
  const all = BigInt(whole + fraction)
  const result = shift >= 0 ? all * 10n ** BigInt(shift) : (all + 10n ** BigInt(-shift) - 1n) / 10n ** BigInt(-shift)
  if (result > BigInt(Number.MAX_SAFE_INTEGER)) fail(`${number} is too large`)
  return Number(result)
}

function fail(text) {
  throw new Error(text)
}

// rate is the price in a call with that many input tokens: that of the last
// tier that begins below it, for all tokens of the call.
function rate(price, input) {
  if (typeof price !== 'object') return price
  return [...price.tiers].sort((a, b) => a.start - b.start).reduce((found, tier) => (input > tier.start ? tier.price : found), price.base)
}

// tiers are rows [from, input, cache read, cache write, cache write for an
// hour, output], the rates in micro-dollars for a million tokens.
function tiers(prices) {
  const starts = Object.values(prices).flatMap((price) => (typeof price === 'object' ? price.tiers.map((tier) => tier.start + 1) : []))
  return [...new Set([0, ...starts])].sort((a, b) => a - b).map((from) => {
    const at = (key) => rate(prices[key], from)
    const input = at('input_mtok')
    const write = at('cache_write_mtok') ?? input
    const dollars = [input, at('cache_read_mtok') ?? input, write, at('cache_write_1h_mtok') ?? write, Math.max(...outputs.map((key) => at(key) ?? 0))]
    return [from, ...dollars.map((amount) => scaled(amount, 6))]
  })
}

function constraint(rule) {
  if (!rule) return {}
  switch (rule.type) {
    case 'start_date':
      return { since: rule.start_date }
    case 'time_of_date':
      return { hours: true }
  }
  return fail(`unknown constraint ${JSON.stringify(rule)}`)
}

// price is one entry: when it holds and what it says. An entry without tiers
// says nothing of a text in and a text out. One without any price is free or not
// told; only a name that says free is believed.
function price({ constraint: rule, prices }, id) {
  for (const key of Object.keys(prices)) {
    if (!unused.has(key) && !outputs.includes(key) && !inputs.includes(key) && key !== 'requests_kcount') fail(`${id}: unknown price ${key}`)
  }
  const entry = constraint(rule)
  if (Object.keys(prices).length === 0 && id.endsWith(':free')) entry.tiers = tiers({ input_mtok: 0, output_mtok: 0 })
  if (prices.input_mtok !== undefined && prices.output_mtok !== undefined) {
    entry.tiers = tiers(prices)
    if (prices.requests_kcount) entry.run = scaled(prices.requests_kcount, 3)
  }
  return entry
}

// match has its literals in lower case, as they are compared. A regular
// expression that only looks ahead for what must not be becomes "without": RE2
// has no look-ahead.
function match(rule, id) {
  const [[kind, value], ...more] = Object.entries(rule)
  if (more.length || value === '') fail(`${id}: ${JSON.stringify(rule)} is not one rule`)
  switch (kind) {
    case 'or':
    case 'and':
      return { [kind]: value.map((part) => match(part, id)) }
    case 'equals':
    case 'starts_with':
    case 'ends_with':
    case 'contains':
      return { [kind]: value.toLowerCase() }
    case 'regex': {
      const without = /^\^\(\?!((?:[^()]|\((?:[^()]|\([^()]*\))*\))*)\)$/.exec(value)
      const pattern = without ? `^(?:${without[1]})` : value
      if (/\(\?(?!:)|\\[1-9kpPuxcB]|\[\^?\]/.test(pattern)) fail(`${id}: rewrite the regular expression ${value}, which may mean something else in RE2`)
      return { [without ? 'without' : 'regex']: pattern }
    }
  }
  return fail(`${id}: unknown rule ${kind}`)
}

function provider({ id, fallback_model_providers: fallback, models }) {
  return {
    id, fallback,
    models: models.map((model) => ({
      match: match(model.match, `${id}/${model.id}`),
      window: model.context_window, // left out where it is not known
      prices: (Array.isArray(model.prices) ? model.prices : [{ prices: model.prices }]).map((entry) => price(entry, `${id}/${model.id}`)),
    })),
  }
}

const lines = [{ source: `@pydantic/genai-prices ${version}`, date }, ...(await waitForUpdate()).map(provider)]
const packed = gzipSync(lines.map((line) => JSON.stringify(line) + '\n').join(''), { level: 9 })
packed[9] = 255 // the operating system, which is nobody's business
writeFileSync(join(folder, 'table.ndjson.gz'), packed)
copyFileSync(join(home, 'LICENSE'), join(folder, 'table.LICENSE'))
