// Finds the npm package with the prices: in LOOP_MCP_NODE_MODULES, else where
// the tests' packages are.
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

export const here = dirname(fileURLToPath(import.meta.url))
export const home = join(resolve(process.env.LOOP_MCP_NODE_MODULES || join(here, '../../../.ci/clients/node_modules')), '@pydantic/genai-prices')
if (!existsSync(home)) throw new Error(`there is no ${home}; install it with npm, or name its node_modules in LOOP_MCP_NODE_MODULES`)
export const { version } = JSON.parse(readFileSync(join(home, 'package.json'), 'utf8'))
export const { calcPrice, findProvider, waitForUpdate } = await import(pathToFileURL(join(home, 'dist/index.js')).href)
