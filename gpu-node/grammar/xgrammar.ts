import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname } from 'node:path'
import { compileFunction, constants } from 'node:vm'
import type * as Xgrammar from '@mlc-ai/web-xgrammar'
import { z } from 'zod'

const Library = z.custom<typeof Xgrammar>(
  (value) => typeof value === 'object' && value !== null && 'GrammarCompiler' in value,
)

/**
 * A fresh copy of xgrammar with a memory of its own. The package calls itself an ES module and is a CommonJS script
 * (0.1.27), so neither `import` nor `require` takes it.
 */
export function loadXgrammar(): typeof Xgrammar {
  const require = createRequire(import.meta.url)
  const path = require.resolve('@mlc-ai/web-xgrammar')
  const names = ['exports', 'module', 'require', '__filename', '__dirname']
  const script = compileFunction(readFileSync(path, 'utf8'), names, {
    filename: path,
    importModuleDynamically: constants.USE_MAIN_CONTEXT_DEFAULT_LOADER,
  })
  const module = { exports: {} }
  script.call(undefined, module.exports, module, require, path, dirname(path))
  return Library.parse(module.exports)
}
