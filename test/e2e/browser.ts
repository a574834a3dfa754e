import chromium from '@sparticuz/chromium'
import { type Browser, chromium as launcher, type Page } from 'playwright-core'

/** A headless Chromium, out of a package. In a single process, its last page would end it. */
export async function openBrowser(): Promise<Browser> {
  const args = chromium.args.filter((arg) => arg !== '--single-process' && arg !== '--no-zygote')
  return launcher.launch({ executablePath: await chromium.executablePath(), args, headless: true })
}

export type ConsoleOptions = NonNullable<Parameters<Browser['newPage']>[0]>

/** A page of the console where somebody has given a key. */
export async function openConsole(
  browser: Browser,
  { edge, key, ...options }: ConsoleOptions & { readonly edge: string; readonly key: string },
): Promise<Page> {
  const page = await browser.newPage(options)
  page.setDefaultTimeout(60_000)
  await page.goto(`${edge}/console/`)
  await page.getByLabel('Key').fill(key)
  await page.getByRole('button', { name: 'Sign in' }).click()
  return page
}
