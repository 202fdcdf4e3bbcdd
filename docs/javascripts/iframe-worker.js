// A page that is opened from a folder (file://) may start no worker. This one runs its script in a hidden frame, so that
// the search works without a server. What runs in the frame asks for `IFrameWorker` to know where it is.
if (location.protocol === "file:") {
  class IFrameWorker extends EventTarget {
    constructor(url) {
      super()
      this.waiting = []
      const frame = document.createElement("iframe")
      frame.hidden = true
      document.body.appendChild(frame)
      const inside = frame.contentWindow
      const load = source => new Promise((done, failed) => {
        const script = inside.document.createElement("script")
        Object.assign(script, {src: source, onload: done, onerror: failed})
        inside.document.body.appendChild(script)
      })
      inside.importScripts = (...sources) => sources.reduce((before, s) => before.then(() => load(s)), Promise.resolve())
      inside.postMessage = data => this.dispatchEvent(new MessageEvent("message", {data}))
      this.deliver = data => inside.dispatchEvent(new MessageEvent("message", {data}))
      load(new URL(url, location.href).href).then(() => {
        this.waiting.forEach(this.deliver)
        this.waiting = null
      }, () => this.dispatchEvent(new ErrorEvent("error", {message: `${url} cannot be read`})))
    }

    postMessage(data) {
      this.waiting ? this.waiting.push(data) : this.deliver(data)
    }

    terminate() {}
  }
  window.IFrameWorker = window.Worker = IFrameWorker
}
