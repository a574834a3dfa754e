import { cp, mkdir, rm } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const here = (name: string): string => fileURLToPath(new URL(name, import.meta.url))

/** The folder that wrangler.toml names as the worker's assets. */
export const assetsFolder = here('dist')

/**
 * Writes the console as static files: `dist/console/{index.html,console.js,console.css,icon.svg}`. esbuild bundles the
 * worker already, so the console needs no second bundler.
 */
export async function buildConsole(): Promise<void> {
  const out = here('dist/console')
  await rm(assetsFolder, { recursive: true, force: true })
  await mkdir(out, { recursive: true })
  await build({
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
  for (const name of ['index.html', 'icon.svg']) await cp(here(name), `${out}/${name}`)
}

/** The tests' set-up builds what the worker serves. */
export default buildConsole

if (import.meta.main) await buildConsole()
