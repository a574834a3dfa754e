import { randomUUID } from 'node:crypto'
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const here = (name: string): string => fileURLToPath(new URL(name, import.meta.url))

/** The folder that wrangler.toml names as the worker's assets. */
export const assetsFolder = here('dist')

/**
 * Writes the console as static files: `dist/console/{index.html,console.js,console.css,icon.svg}`. esbuild bundles the
 * worker already, so the console needs no second bundler. A file that is right is left alone and another is replaced at
 * once: a worker may serve the folder while a second one starts.
 */
export async function buildConsole(): Promise<void> {
  const out = here('dist/console')
  await mkdir(out, { recursive: true })
  const { outputFiles } = await build({
    write: false,
    entryPoints: { console: here('main.tsx') },
    outdir: out,
    bundle: true,
    minify: true,
    format: 'esm',
    target: 'es2022',
    jsx: 'automatic',
    jsxImportSource: 'preact',
    logLevel: 'error',
  })
  for (const { contents, path } of outputFiles) await replace(path, contents)
  for (const name of ['index.html', 'icon.svg']) await replace(`${out}/${name}`, await readFile(here(name)))
}

async function replace(path: string, contents: Uint8Array): Promise<void> {
  const before = await readFile(path).catch(() => undefined)
  if (before?.equals(contents) === true) return
  // The file lies beside the served folder, not in it: a worker that starts lists the served folder.
  const written = here(`.new-${randomUUID()}`)
  await writeFile(written, contents)
  await rename(written, path)
}

/** The tests' set-up builds what the worker serves. */
export default buildConsole

if (import.meta.main) await buildConsole()
