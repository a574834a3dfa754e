import chromium from '@sparticuz/chromium'
import { type Browser, chromium as launcher } from 'playwright-core'

/** A headless Chromium, out of a package. In a single process, its last page would end it. */
export async function openBrowser(): Promise<Browser> {
  const args = chromium.args.filter((arg) => arg !== '--single-process' && arg !== '--no-zygote')
  return launcher.launch({ executablePath: await chromium.executablePath(), args, headless: true })
}
