import type { ComponentChildren } from 'preact'
import { useEffect, useRef, useState } from 'preact/hooks'
import type { CallFailure } from '../api/call.ts'
import { TextField } from './field.tsx'
import { Failure } from './notice.tsx'

/** A modal dialog: the browser keeps the focus inside and closes it on Escape. */
export function Dialog({
  title,
  onClose,
  children,
}: {
  title: string
  onClose: () => void
  children: ComponentChildren
}) {
  const element = useRef<HTMLDialogElement>(null)
  useEffect(() => {
    const { current } = element
    if (current?.open === false) current.showModal()
    return () => current?.close()
  }, [])
  return (
    <dialog ref={element} aria-label={title} onClose={onClose} onCancel={onClose}>
      <h2>{title}</h2>
      {children}
    </dialog>
  )
}

/** Asks the user to type the name of a thing before it is destroyed. */
export function ConfirmByName({
  title,
  name,
  verb,
  children,
  running,
  failure,
  onConfirm,
  onClose,
}: {
  title: string
  name: string
  verb: string
  children: ComponentChildren
  running: boolean
  failure: CallFailure | undefined
  onConfirm: () => void
  onClose: () => void
}) {
  const [typed, setTyped] = useState('')
  return (
    <Dialog title={title} onClose={onClose}>
      <form
        onSubmit={(event) => {
          event.preventDefault()
          if (typed === name) onConfirm()
        }}
      >
        <div class="prose">{children}</div>
        <TextField label={`Type ${name} to confirm`} value={typed} onValue={setTyped} />
        {failure === undefined ? null : <Failure failure={failure} />}
        <div class="actions">
          <button type="button" onClick={onClose}>
            Keep it
          </button>
          <button type="submit" class="danger" disabled={typed !== name || running}>
            {verb}
          </button>
        </div>
      </form>
    </Dialog>
  )
}
