// Draws the report's 3D views: one WebGL context renders every card's drawing and copies it to the card's canvas.
(() => {
  const data = JSON.parse(document.getElementById("drawings").textContent);
  const canvases = [...document.querySelectorAll("canvas.view")];
  const screen = document.createElement("canvas");
  const gl = screen.getContext("webgl2", { antialias: true, preserveDrawingBuffer: true });
  if (!gl) {
    for (const canvas of canvases) {
      const words = document.createElement("div");
      words.className = "missing";
      words.textContent = "This browser has WebGL switched off, so 3D views are missing.";
      canvas.replaceWith(words);
    }
    for (const controls of document.querySelectorAll(".replay")) controls.remove();
    return;
  }
  const decode = (text, Type) => new Type(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
  const buffers = new Map();
  const buffer = (id) => {
    if (!buffers.has(id)) {
      const asset = data.assets[id];
      const target = asset.kind === "faces" ? gl.ELEMENT_ARRAY_BUFFER : gl.ARRAY_BUFFER;
      const values = decode(asset.data, asset.kind === "faces" ? Uint16Array : Int16Array);
      const handle = gl.createBuffer();
      gl.bindBuffer(target, handle);
      gl.bufferData(target, values, gl.STATIC_DRAW);
      buffers.set(id, { handle, length: values.length });
    }
    return buffers.get(id);
  };

  const LIGHT = [0.351, -0.451, 0.822];
  const vertex = `#version 300 es
    in vec3 point; uniform mat3 axes; uniform vec3 center; uniform float width; uniform bool shadow; uniform float size;
    uniform float nudge; uniform mat3 turn; uniform vec3 shift; out vec3 seen;
    void main() {
      vec3 p = turn * (point * 1e-4) + shift;
      if (shadow) { p.xy -= vec2(${LIGHT[0] / LIGHT[2]}, ${LIGHT[1] / LIGHT[2]}) * max(p.z, 0.0); p.z = 5e-4; }
      seen = (p - center) * axes;
      gl_Position = vec4(2.0 * seen.xy / width, -(seen.z + nudge) / 2.0, 1.0);
      gl_PointSize = size;
    }`;
  const fragment = `#version 300 es
    precision highp float; in vec3 seen; uniform vec3 rgb; uniform vec3 light; uniform int mode; out vec4 color;
    void main() {
      if (mode == 0) { color = vec4(rgb, 1.0); return; }
      if (mode == 2) { if (length(gl_PointCoord - 0.5) > 0.5) discard; color = vec4(rgb, 1.0); return; }
      vec3 n = normalize(cross(dFdx(seen), dFdy(seen)));
      if (n.z < 0.0) n = -n;
      float l = 0.50 + 0.38 * max(dot(n, light), 0.0) + 0.16 * n.z;
      color = vec4(rgb * l, 1.0);
    }`;
  const program = gl.createProgram();
  for (const [kind, source] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  gl.useProgram(program);
  const where = Object.fromEntries(
    ["axes", "center", "width", "shadow", "size", "nudge", "rgb", "light", "mode", "turn", "shift"].map((n) => [n, gl.getUniformLocation(program, n)]),
  );
  const attribute = gl.getAttribLocation(program, "point");
  gl.enableVertexAttribArray(attribute);
  gl.enable(gl.DEPTH_TEST);

  const hidden = new Set();
  let tick = 0; // of drawings that move: there and back
  const shown = (surface) => {
    if (!surface.frames) return surface.vertices;
    const last = surface.frames.length - 1, at = tick % (2 * last);
    return surface.frames[at <= last ? at : 2 * last - at];
  };
  const eyes = canvases.map((canvas) => {
    const drawing = data.drawings[canvas.dataset.drawing];
    return { azimuth: drawing.azimuth, elevation: 25, width: drawing.width };
  });

  function frame(eye) {
    const a = (eye.azimuth * Math.PI) / 180, e = (eye.elevation * Math.PI) / 180;
    const towards = [Math.cos(e) * Math.cos(a), Math.cos(e) * Math.sin(a), Math.sin(e)];
    const right = [-Math.sin(a), Math.cos(a), 0];
    const up = [
      towards[1] * right[2] - towards[2] * right[1],
      towards[2] * right[0] - towards[0] * right[2],
      towards[0] * right[1] - towards[1] * right[0],
    ];
    return [...right, ...up, ...towards];
  }

  const moments = canvases.map(() => null); // of replays: a frame, or null for the grasp as it was made
  const poses = new Map();
  function poseOf(replay, moment, body) {
    if (!poses.has(replay.poses)) poses.set(replay.poses, decode(data.assets[replay.poses].data, Int16Array));
    const at = 7 * (moment * replay.bodies.length + body);
    const [x, y, z, ...q] = poses.get(replay.poses).subarray(at, at + 7);
    return [x * 1e-4, y * 1e-4, z * 1e-4, ...q.map((v) => v / 32767)];
  }
  function place([x, y, z, w, i, j, k]) {
    gl.uniform3f(where.shift, x, y, z);
    gl.uniformMatrix3fv(where.turn, false, [
      1 - 2 * (j * j + k * k), 2 * (i * j + k * w), 2 * (i * k - j * w),
      2 * (i * j - k * w), 1 - 2 * (i * i + k * k), 2 * (j * k + i * w),
      2 * (i * k + j * w), 2 * (j * k - i * w), 1 - 2 * (i * i + j * j),
    ]);
  }

  function draw(index) {
    const canvas = canvases[index], eye = eyes[index], drawing = data.drawings[canvas.dataset.drawing];
    const ratio = window.devicePixelRatio || 1;
    canvas.width = screen.width = Math.round(canvas.clientWidth * ratio);
    canvas.height = screen.height = Math.round(canvas.clientHeight * ratio);
    gl.viewport(0, 0, screen.width, screen.height);
    gl.clearColor(0, 0, 0, 0); // the card's own background
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    const axes = frame(eye), dot = (k) => LIGHT.reduce((sum, v, i) => sum + v * axes[3 * k + i], 0);
    gl.uniformMatrix3fv(where.axes, false, axes);
    gl.uniform3f(where.light, dot(0), dot(1), dot(2));
    gl.uniform3fv(where.center, drawing.center);
    gl.uniform1f(where.width, eye.width);
    const still = () => place([0, 0, 0, 1, 0, 0, 0]);
    still();
    const mesh = (surface, mode, rgb, shadow) => {
      const points = buffer(shown(surface)), faces = buffer(surface.faces);
      gl.bindBuffer(gl.ARRAY_BUFFER, points.handle);
      gl.vertexAttribPointer(attribute, 3, gl.SHORT, false, 0, 0);
      gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, faces.handle);
      gl.uniform1i(where.mode, mode);
      gl.uniform1i(where.shadow, shadow ? 1 : 0);
      gl.uniform1f(where.nudge, 0);
      gl.uniform3fv(where.rgb, rgb);
      gl.drawElements(gl.TRIANGLES, faces.length, gl.UNSIGNED_SHORT, 0);
    };
    const moment = moments[index], replayed = moment !== null;
    const solids = replayed ? drawing.replay.bodies.map((body, i) => ({ ...body, pose: poseOf(drawing.replay, moment, i) })) : drawing.meshes;
    const visible = solids.filter((s) => !hidden.has(s.role));
    const put = (surface, ...how) => { if (surface.pose) place(surface.pose); mesh(surface, ...how); };
    if (drawing.table) {
      mesh(data.table, 0, [0.93, 0.92, 0.9], false);
      for (const surface of visible) put(surface, 0, [0.8, 0.79, 0.77], true);
    }
    for (const surface of visible) put(surface, 1, surface.rgb, false);
    still();
    if (replayed || hidden.has("cloud")) { canvas.getContext("2d").drawImage(screen, 0, 0); return; }
    for (const cloud of drawing.clouds) {
      const points = buffer(cloud.points);
      gl.bindBuffer(gl.ARRAY_BUFFER, points.handle);
      gl.vertexAttribPointer(attribute, 3, gl.SHORT, false, 0, 0);
      gl.uniform1i(where.mode, 2);
      gl.uniform1i(where.shadow, 0);
      gl.uniform1f(where.nudge, 2e-3);
      gl.uniform1f(where.size, 3 * ratio);
      gl.uniform3fv(where.rgb, cloud.rgb);
      gl.drawArrays(gl.POINTS, 0, points.length / 3);
    }
    canvas.getContext("2d").drawImage(screen, 0, 0);
  }

  const inView = new Set();
  const observer = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      const index = canvases.indexOf(entry.target);
      if (entry.isIntersecting) { inView.add(index); draw(index); } else inView.delete(index);
    }
  });
  canvases.forEach((canvas, index) => {
    observer.observe(canvas);
    const start = { ...eyes[index] };
    const fingers = new Map();
    let wheel = false; // the wheel zooms once the view was clicked; before that it scrolls the page
    const zoom = (by) => { eyes[index].width = Math.min(1, Math.max(0.05, eyes[index].width * Math.exp(by))); };
    const turn = (right, up) => {
      eyes[index].azimuth -= right;
      eyes[index].elevation = Math.min(89, Math.max(-89, eyes[index].elevation + up));
    };
    const spread = () => { const [a, b] = [...fingers.values()]; return Math.hypot(a[0] - b[0], a[1] - b[1]); };
    const lift = (event) => fingers.delete(event.pointerId);
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      fingers.set(event.pointerId, [event.clientX, event.clientY]);
      wheel = true;
    });
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, lift);
    canvas.addEventListener("pointerleave", () => { wheel = false; });
    canvas.addEventListener("wheel", (event) => {
      if (!wheel && !event.ctrlKey) return;
      event.preventDefault();
      zoom(event.deltaY * (event.ctrlKey ? 0.01 : 0.002));
      draw(index);
    }, { passive: false });
    canvas.addEventListener("pointermove", (event) => {
      if (!(event.buttons & 1) || !fingers.has(event.pointerId)) return;
      const before = fingers.size === 2 ? spread() : 0;
      fingers.set(event.pointerId, [event.clientX, event.clientY]);
      if (before) zoom(Math.log(before / Math.max(1, spread())));
      else if (event.shiftKey) zoom(event.movementY * 0.01);
      else turn(event.movementX * 0.5, event.movementY * 0.5);
      draw(index);
    });
    const back = () => Object.assign(eyes[index], start);
    const keys = {
      ArrowLeft: () => turn(-10, 0), ArrowRight: () => turn(10, 0), ArrowUp: () => turn(0, -10), ArrowDown: () => turn(0, 10),
      "+": () => zoom(-0.2), "=": () => zoom(-0.2), "-": () => zoom(0.2), Home: back,
    };
    canvas.addEventListener("keydown", (event) => {
      if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      keys[event.key]();
      draw(index);
    });
    canvas.addEventListener("dblclick", () => { back(); draw(index); });
  });
  for (const box of document.querySelectorAll("input[data-layer]")) {
    box.addEventListener("change", () => {
      if (box.checked) hidden.delete(box.dataset.layer); else hidden.add(box.dataset.layer);
      for (const index of inView) draw(index);
    });
  }
  canvases.forEach((canvas, index) => {
    const controls = canvas.parentElement.querySelector(".replay");
    if (!controls) return;
    const [button, slider] = controls.children, replay = data.drawings[canvas.dataset.drawing].replay;
    let timer = null;
    const stop = () => { clearInterval(timer); timer = null; button.textContent = "replay"; };
    const show = (moment) => { moments[index] = moment; if (moment !== null) slider.value = moment; draw(index); };
    button.addEventListener("click", () => {
      if (timer) { stop(); return; }
      button.textContent = "stop";
      show(moments[index] === null || moments[index] >= +slider.max ? 0 : moments[index]);
      timer = setInterval(() => {
        if (moments[index] === null || moments[index] >= +slider.max) stop(); else show(moments[index] + 1);
      }, 1000 * replay.seconds);
    });
    slider.addEventListener("input", () => { stop(); show(+slider.value); });
    canvas.addEventListener("dblclick", () => { stop(); slider.value = 0; show(null); });
  });
  const moving = canvases.map((canvas) => data.drawings[canvas.dataset.drawing].meshes.some((mesh) => mesh.frames));
  if (moving.includes(true) && !window.matchMedia("(prefers-reduced-motion: reduce)").matches) {
    setInterval(() => { tick += 1; for (const index of inView) if (moving[index]) draw(index); }, 120);
  }
  window.addEventListener("resize", () => inView.forEach(draw));
})();
