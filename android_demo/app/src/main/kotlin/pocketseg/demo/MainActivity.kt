package pocketseg.demo

import android.Manifest
import android.app.Activity
import android.content.ActivityNotFoundException
import android.content.Intent
import android.content.pm.PackageManager
import android.content.res.Configuration
import android.graphics.SurfaceTexture
import android.net.Uri
import android.os.Bundle
import android.os.Handler
import android.os.Looper
import android.provider.Settings
import android.view.TextureView
import android.view.View
import pocketseg.live.Background
import pocketseg.live.Effect
import pocketseg.live.Engine
import pocketseg.live.FrameSource
import pocketseg.live.Report
import pocketseg.live.Screen
import pocketseg.model.Attempt
import pocketseg.model.Delegate
import pocketseg.model.Problem
import pocketseg.model.Trouble
import pocketseg.model.openTrusted
import pocketseg.pixels.Size
import java.io.File
import java.io.IOException
import java.util.concurrent.ExecutorService
import java.util.concurrent.Executors

/** How the app opens a camera; tests put a fake here. */
var openCamera: (Activity, front: Boolean) -> FrameSource = { activity, front ->
    CameraSource(activity.applicationContext, front) { displayDegrees(activity) }
}

/**
 * The live picture and its controls. The engine and the source live from onStart to onStop; a rotation or another window
 * size only lays the views out anew (the manifest's configChanges).
 */
class MainActivity : Activity(), Screen {
    private lateinit var store: ModelStore
    private lateinit var gpu: Attempt
    private lateinit var drawing: Attempt
    private val files: ExecutorService = Executors.newSingleThreadExecutor { Thread(it, "files") }
    private val main = Handler(Looper.getMainLooper())
    var state = UiState()
        private set
    private var engine: Engine? = null
    private var source: FrameSource? = null
    private var background: Background? = null
    private var aspect = 1.0
    private var pending: File? = null // saved, and waiting for a place
    @Volatile private var recording: Recording? = null
    @Volatile private var conversion: Any? = null // the one that goes on; another, or none, cancels it

    private lateinit var screen: MainScreen
    private val settings by lazy { SettingsSheet(this) } // a rotation leaves it open
    @Volatile private var picture: PictureView? = null

    override fun onCreate(saved: Bundle?) {
        super.onCreate(saved)
        store = ModelStore(this)
        gpu = Attempt(File(filesDir, "gpu-attempt"))
        drawing = Attempt(File(filesDir, "drawing-attempt"))
        state = UiState.fromJson(getPreferences(MODE_PRIVATE).getString(STATE, "{}")!!)
        saved?.getString(PHOTO)?.let { state = state.copy(source = Source.Photo(Uri.parse(it))) }
        saved?.getString(VIDEO)?.let { state = state.copy(source = Source.Video(Uri.parse(it))) }
        pending = saved?.getString(PENDING)?.let(::File)
        layOut()
        gpu.lost?.let { // the driver took the app down: not again at every start
            state = state.copy(delegate = Delegate.CPU)
            gpu.forget()
            remember()
            failed(Trouble(Problem.GPU_CRASHED, it))
        }
        drawing.lost?.let {
            state = state.copy(graphics = false)
            drawing.forget()
            remember()
            failed(Trouble(Problem.GRAPHICS_CRASHED))
        }
        if (saved == null) receive(intent)
        listModels()
        readBackdrop()
        val first = !getPreferences(MODE_PRIVATE).getBoolean(ASKED, false)
        if (first && state.source is Source.Camera && !cameraAllowed()) askForCamera()
    }

    override fun onStart() {
        super.onStart()
        val engine = Engine(this)
        this.engine = engine
        engine.start()
        engine.fit(aspect)
        engine.show(background)
        engine.show(state.look)
        openGraphics()
        openModels()
        openSource()
        askForPlace()
    }

    override fun onStop() {
        stopRecording()
        source?.stop()
        source = null
        engine?.close()
        engine = null
        remember()
        super.onStop()
    }

    override fun onDestroy() {
        main.removeCallbacksAndMessages(null)
        files.shutdown()
        super.onDestroy()
    }

    private fun remember() = getPreferences(MODE_PRIVATE).edit().putString(STATE, state.toJson()).apply()

    override fun onSaveInstanceState(out: Bundle) {
        super.onSaveInstanceState(out)
        (state.source as? Source.Photo)?.let { out.putString(PHOTO, it.uri.toString()) }
        (state.source as? Source.Video)?.let { out.putString(VIDEO, it.uri.toString()) }
        pending?.let { out.putString(PENDING, it.path) }
    }

    override fun onConfigurationChanged(configuration: Configuration) {
        super.onConfigurationChanged(configuration)
        layOut()
    }

    private fun layOut() {
        setContentView(R.layout.main)
        drawBehindBars(findViewById(R.id.overlay), findViewById(R.id.panel))
        screen = MainScreen(this, settings)
        picture = findViewById(R.id.picture)
        picture!!.sizeChanged = {
            aspect = it
            engine?.fit(it)
        }
        findViewById<TextureView>(R.id.surface).apply {
            isOpaque = false // cut-outs, and photos under it
            surfaceTextureListener = surfaces
        }
        screen.render(state)
    }

    private var surface: GlSurface? = null

    private val surfaces = object : TextureView.SurfaceTextureListener {
        override fun onSurfaceTextureAvailable(texture: SurfaceTexture, width: Int, height: Int) {
            surface?.abandon()
            surface = GlSurface(texture)
            openGraphics()
        }

        override fun onSurfaceTextureSizeChanged(texture: SurfaceTexture, width: Int, height: Int) = Unit

        override fun onSurfaceTextureDestroyed(texture: SurfaceTexture): Boolean {
            if (surface?.texture !== texture) return false
            surface?.abandon()
            surface = null
            openGraphics()
            return false // whoever draws to it lets it go
        }

        override fun onSurfaceTextureUpdated(texture: SurfaceTexture) = Unit
    }

    private fun openGraphics() {
        val surface = surface
        if (surface == null || !state.graphics) engine?.drawWith(null)
        else engine?.drawWith { drawing.make("OpenGL") { openDrawing(surface) { name -> assets.open(name).use { String(it.readBytes()) } } } }
    }

    override fun onNewIntent(intent: Intent) {
        super.onNewIntent(intent)
        receive(intent)
    }

    /** A photo or a video that another app shares with this one or opens in it. */
    private fun receive(intent: Intent) {
        @Suppress("DEPRECATION") // its successor needs API 33
        val uri = if (intent.action == Intent.ACTION_SEND) intent.getParcelableExtra(Intent.EXTRA_STREAM) else intent.data
        if (uri is Uri) update { copy(source = sourceOf(uri, intent.type), note = null) }
    }

    private fun sourceOf(uri: Uri, type: String?): Source {
        val known = type?.takeUnless { it.startsWith("*") } ?: contentResolver.getType(uri).orEmpty()
        return if (known.startsWith("video/")) Source.Video(uri) else Source.Photo(uri)
    }

    // What changes, and what follows from it.

    fun update(change: UiState.() -> UiState) {
        val before = state
        state = before.change()
        if (state.note !== before.note) {
            main.removeCallbacksAndMessages(NOTE)
            if (state.note?.stays == false) main.postAtTime({ update { copy(note = null) } }, NOTE, android.os.SystemClock.uptimeMillis() + NOTE_MS)
        }
        if (state.look != before.look) engine?.show(state.look)
        if (state.backdrop != before.backdrop) readBackdrop()
        if (state.chosen != before.chosen || state.delegate != before.delegate || state.threads != before.threads) openModels()
        if (state.graphics != before.graphics) openGraphics()
        if (state.source != before.source) stopRecording()
        if (state.source != before.source || (state.cameraAllowed && !before.cameraAllowed)) openSource()
        screen.render(state)
    }

    fun note(text: String, action: Int? = null, stays: Boolean = false, act: () -> Unit = {}) =
        runOnUiThread { update { copy(note = Note(text, action, stays, act)) } }

    /** Run [work] on the thread of files; what it gives is handled on the main thread, unless the activity is gone. */
    private fun <T> inBackground(work: () -> T, then: (T) -> Unit) {
        if (!files.isShutdown) files.execute {
            val result = work()
            runOnUiThread { if (!isDestroyed) then(result) }
        }
    }

    private fun listModels(message: String? = null) = inBackground(store::list) { models ->
        val usable = models.filter { it.problem == null }.map { it.name }
        val before = state.chosen
        update { copy(models = models, chosen = chosen.filter { it in usable }.ifEmpty { usable.take(1) }) }
        if (state.chosen == before) openModels() // nothing changed but that they can be opened now
        if (usable.isEmpty()) note(getString(R.string.no_models), stays = true)
        message?.let { note(it) }
    }

    private fun openModels() {
        val (files, delegate, threads) = Triple(state.files, state.delegate, state.threads)
        if (state.models == null) return
        engine?.use { photo, size ->
            val opened = mutableListOf<pocketseg.model.Segmenter>()
            try {
                for (file in files) {
                    val bytes = file.buffer()
                    fun open(on: Delegate) = openModel(file.spec!!, bytes, on, threads)
                    opened += if (delegate == Delegate.CPU) open(delegate)
                    else gpu.make(file.name) { openTrusted(delegate, ::open, photo, size, ::failed) }
                }
            } catch (error: Exception) {
                opened.forEach { it.close() }
                throw error
            }
            val devices = opened.map { it.device }
            runOnUiThread { update { copy(devices = devices) } }
            opened
        }
    }

    private fun openSource() {
        val engine = engine ?: return
        source?.stop()
        source = null
        state = state.copy(cameraAllowed = cameraAllowed())
        source = when (val wanted = state.source) {
            is Source.Camera -> if (state.cameraAllowed) openCamera(this, wanted.front) else null
            is Source.Photo -> PhotoSource(applicationContext, wanted.uri)
            is Source.Video -> VideoSource(applicationContext, wanted.uri)
        }
        val mine = source
        source?.start(engine.listen()) { trouble -> runOnUiThread { if (source === mine) failed(trouble) } }
        screen.render(state)
    }

    private val ownBackground get() = File(filesDir, "background")

    private fun readBackdrop() {
        val backdrop = state.backdrop
        inBackground({
            try {
                if (backdrop == Backdrop.OWN) readBackground(applicationContext, Uri.fromFile(ownBackground)) else backdrop.background()
            } catch (error: IOException) {
                failed(Trouble(Problem.BACKGROUND_FAILED, error))
                Backdrop.STUDIO.background()
            }
        }) {
            background = it
            engine?.show(it)
        }
    }

    // From the inference thread.

    override fun show(pixels: IntArray, size: Size) {
        picture?.show(pixels, size)
        cover(false)
        record(size) { pixels }
    }

    override fun presented(size: Size, pixels: () -> IntArray) {
        picture?.show(size)
        cover(true)
        record(size, pixels)
    }

    private var covered: Boolean? = null // of the inference thread

    /** What OpenGL drew last lies over the other picture, or is not seen. */
    private fun cover(now: Boolean) {
        if (covered == now) return
        covered = now
        runOnUiThread { findViewById<View>(R.id.surface).alpha = if (now) 1f else 0f }
    }

    private fun record(size: Size, pixels: () -> IntArray) {
        val recording = recording ?: return
        try {
            recording.add(pixels(), size, System.nanoTime())
        } catch (error: IOException) {
            this.recording = null
            failed(Trouble(Problem.SAVE_FAILED, error))
            runOnUiThread { update { copy(recording = false) } }
        }
    }

    override fun report(report: Report) = runOnUiThread { update { copy(report = report, thermal = thermalStatus(this@MainActivity)) } }

    override fun failed(trouble: Trouble) = note(words(trouble), stays = trouble.problem == Problem.CAMERA_LOST || trouble.problem == Problem.CAMERA_NONE)

    // From the person.

    fun pickPicture() = choose(Request.PICTURE, "image/*", "video/*")

    fun pickBackground() = choose(Request.BACKGROUND, "image/*")

    fun addModels() = choose(Request.MODELS, "*/*")

    fun removeModel(name: String) = inBackground({ store.remove(name) }) { listModels(getString(R.string.removed, name)) }

    fun switchCamera() {
        val now = state.source
        update { copy(source = Source.Camera(if (now is Source.Camera) !now.front else true), note = null) }
        if (!cameraAllowed()) askForCamera()
    }

    private enum class Request { PICTURE, BACKGROUND, MODELS, PLACE, CAMERA }

    private fun choose(request: Request, vararg types: String) {
        val intent = Intent(Intent.ACTION_OPEN_DOCUMENT).setType(if (types.size == 1) types[0] else "*/*").addCategory(Intent.CATEGORY_OPENABLE)
            .putExtra(Intent.EXTRA_MIME_TYPES, types).putExtra(Intent.EXTRA_ALLOW_MULTIPLE, request == Request.MODELS)
        launch(intent, request)
    }

    private fun launch(intent: Intent, request: Request) =
        try {
            @Suppress("DEPRECATION") // its successor is in androidx
            startActivityForResult(intent, request.ordinal)
        } catch (_: ActivityNotFoundException) {
            note(getString(R.string.no_picker))
        }

    @Deprecated("its successor is in androidx")
    override fun onActivityResult(code: Int, result: Int, data: Intent?) {
        val uri = data?.data
        val clip = data?.clipData
        val uris = if (clip != null) List(clip.itemCount) { clip.getItemAt(it).uri } else listOfNotNull(uri)
        if (result != RESULT_OK || uris.isEmpty()) return
        when (Request.entries[code]) {
            Request.PICTURE -> update { copy(source = sourceOf(uris[0], null), note = null) }
            Request.BACKGROUND -> keepBackground(uris[0])
            Request.MODELS -> inBackground({ store.add(uris) }) { problem ->
                listModels(problem?.let { words(Trouble(Problem.MODEL_REFUSED, it)) } ?: getString(R.string.added))
            }
            Request.PLACE -> pending?.let { place(it, uris[0]) }
            Request.CAMERA -> Unit
        }
    }

    /** A copy of its own, so that the next start of the app may read it too. */
    private fun keepBackground(uri: Uri) = inBackground({
        try {
            readBackground(applicationContext, uri) // is it a picture?
            copyIn(applicationContext, uri, ownBackground)
            null
        } catch (error: SecurityException) {
            Trouble(Problem.FILE_GONE, error)
        } catch (error: Exception) { // a storage provider may throw anything
            Trouble(Problem.BACKGROUND_FAILED, error)
        }
    }) { trouble ->
        if (trouble != null) return@inBackground failed(trouble)
        val again = state.backdrop == Backdrop.OWN
        update { copy(backdrop = Backdrop.OWN) }
        if (again) readBackdrop()
    }

    fun shutter() = if (state.source is Source.Video) convert() else export { store(it) }

    fun share() = export { file ->
        val intent = SharedFiles.share(this, file, getString(R.string.share_picture))
        runOnUiThread { startActivity(intent) }
    }

    /** Writes the picture as a file and goes on with that, on the inference thread. */
    private fun export(then: (File) -> Unit) {
        val (effect, from) = state.look.effect to state.source
        engine?.save { shown -> then(writePicture(this, shown, effect, from)) }
    }

    /**
     * Into the gallery, or to a place that the person is asked for, as soon as [finish] says that [file] is there; also when
     * the activity is gone by then.
     */
    private fun store(file: File, finish: () -> Boolean = { true }) = inBackground({
        troubleSaving {
            if (!finish()) return@inBackground Trouble(Problem.NO_PICTURE)
            if (galleryIsOpen) addToGallery(applicationContext, file)
            else getPreferences(MODE_PRIVATE).edit().putString(UNPLACED, file.path).apply()
        }
    }) { trouble ->
        if (trouble != null) failed(trouble)
        else if (galleryIsOpen) saved(file, if (file.extension == "mp4") R.string.saved_video else R.string.saved)
        else askForPlace()
    }

    /** For what was stored last before Android 10, perhaps by an activity that was gone before it could ask. */
    private fun askForPlace() {
        val preferences = getPreferences(MODE_PRIVATE)
        val file = File(preferences.getString(UNPLACED, null) ?: return)
        preferences.edit().remove(UNPLACED).apply()
        if (!file.isFile) return
        pending = file
        val intent = Intent(Intent.ACTION_CREATE_DOCUMENT).setType(SharedFiles.mimeType(file.name)).addCategory(Intent.CATEGORY_OPENABLE)
        launch(intent.putExtra(Intent.EXTRA_TITLE, file.name), Request.PLACE)
    }

    private fun place(file: File, uri: Uri) = inBackground({ troubleSaving { copyTo(this, file, uri) } }) { trouble ->
        if (trouble != null) failed(trouble) else saved(file, R.string.saved_file)
    }

    private inline fun troubleSaving(write: () -> Unit): Trouble? =
        try {
            write()
            null
        } catch (error: Exception) { // a storage provider may throw anything
            Trouble(Problem.SAVE_FAILED, error)
        }

    private fun saved(file: File, message: Int) = note(getString(message), R.string.share) {
        val title = getString(if (file.extension == "mp4") R.string.share_video else R.string.share_picture)
        startActivity(SharedFiles.share(this, file, title))
    }

    fun record() {
        if (recording != null) return stopRecording()
        recording = Recording(newVideo(this))
        update { copy(recording = true, note = null) }
    }

    private fun stopRecording() {
        val recorded = recording ?: return
        recording = null
        update { copy(recording = false) }
        store(recorded.file, recorded::finish)
    }

    /** The whole video with the effect; the picture goes on meanwhile. */
    private fun convert() {
        val uri = (state.source as Source.Video).uri
        if (conversion != null) return
        val mine = Any()
        conversion = mine
        val (files, look, behind) = Triple(state.files, state.look, background)
        val file = newVideo(this)
        fun progress(percent: Int) = runOnUiThread {
            if (conversion === mine) note(getString(R.string.converting, percent), R.string.cancel, stays = true) { conversion = null }
        }
        progress(0)
        var shown = 0
        val open = { files.map { openModel(it.spec!!, it.buffer(), Delegate.CPU, state.threads) } }
        Thread({
            var written = false
            val trouble = troubleSaving { // models, decoders, encoders and storage: all end in the same sentence
                written = convertVideo(this, uri, file, look, behind, open, { if (it > shown) progress(it.also { now -> shown = now }) }) {
                    conversion !== mine || isDestroyed
                }
            }
            runOnUiThread {
                if (conversion === mine) {
                    conversion = null
                    update { copy(note = null) }
                }
            }
            if (trouble != null) failed(trouble)
            if (written) store(file)
        }, "convert").start()
    }

    // The camera's permission.

    private fun cameraAllowed() = checkSelfPermission(Manifest.permission.CAMERA) == PackageManager.PERMISSION_GRANTED

    private fun askForCamera() {
        getPreferences(MODE_PRIVATE).edit().putBoolean(ASKED, true).apply()
        requestPermissions(arrayOf(Manifest.permission.CAMERA), Request.CAMERA.ordinal)
    }

    /** The person pressed the button; after a refusal for good the system shows its question no more, but its settings. */
    fun allowCamera() {
        val asked = getPreferences(MODE_PRIVATE).getBoolean(ASKED, false)
        if (asked && !shouldShowRequestPermissionRationale(Manifest.permission.CAMERA) && !cameraAllowed()) {
            startActivity(Intent(Settings.ACTION_APPLICATION_DETAILS_SETTINGS, Uri.fromParts("package", packageName, null)))
        } else {
            askForCamera()
        }
    }

    override fun onRequestPermissionsResult(code: Int, permissions: Array<String>, results: IntArray) =
        update { copy(cameraAllowed = cameraAllowed(), note = null) }

    private companion object {
        const val STATE = "state"
        const val ASKED = "asked"
        const val PHOTO = "photo"
        const val VIDEO = "video"
        const val PENDING = "pending"
        const val UNPLACED = "unplaced"
        const val NOTE_MS = 6000L
        val NOTE = Any()
    }
}
